package jupyter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// maxKernelSpec is far above the size of a real kernel.json (about 200 bytes).
const maxKernelSpec = 64 << 10

// kernelName is the pattern of names, which are names of folders. A name that matches cannot be a path.
var kernelName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

// KernelSpec describes how to start a kernel.
type KernelSpec struct {
	Name          string            `json:"-"` // name of its folder, such as python3
	Dir           string            `json:"-"` // its folder
	Argv          []string          `json:"argv"`
	DisplayName   string            `json:"display_name"`
	Language      string            `json:"language"`
	InterruptMode string            `json:"interrupt_mode"` // signal or message
	Env           map[string]string `json:"env"`            // as in the file; ${NAME} is not replaced
	Metadata      Metadata          `json:"metadata"`       // additions of other programs, by their names
}

// Metadata can have values of any type. A value that is not an object is left out, and is no error.
type Metadata map[string]json.RawMessage

// UnmarshalJSON reads an object, and treats all other values as an empty one.
func (m *Metadata) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) == nil {
		*m = fields
	}
	return nil
}

// UnknownKernelError says that there is no kernelspec of that name, and lists the known ones.
type UnknownKernelError struct {
	Name  string
	Known []string // sorted
}

func (e *UnknownKernelError) Error() string {
	known := "no kernels are installed"
	if len(e.Known) > 0 {
		known = "known are " + strings.Join(e.Known, ", ")
	}
	return fmt.Sprintf("no kernel %.100q: %s", e.Name, known)
}

// FindKernelSpec reads a kernelspec under the given prefixes, such as /usr/local. It uses the first prefix that
// has the kernelspec. If no prefix has it, the error is an UnknownKernelError.
func FindKernelSpec(prefixes []string, name string) (KernelSpec, error) {
	if kernelName.MatchString(name) {
		for _, p := range prefixes {
			s, err := readKernelSpec(filepath.Join(specDir(p), name))
			if err == nil || !errors.Is(err, fs.ErrNotExist) {
				return s, err
			}
		}
	}
	return KernelSpec{}, &UnknownKernelError{Name: name, Known: kernelNames(prefixes)}
}

// KernelSpecs reads all kernelspecs under the given prefixes, sorted by name. It leaves out invalid ones;
// FindKernelSpec returns their errors.
func KernelSpecs(prefixes []string) []KernelSpec {
	var specs []KernelSpec
	for _, name := range kernelNames(prefixes) {
		if s, err := FindKernelSpec(prefixes, name); err == nil {
			specs = append(specs, s)
		}
	}
	return specs
}

// Command returns the command line that starts the kernel. The caller must resolve a bare "python" at its
// beginning.
func (s KernelSpec) Command(connectionFile string) []string { return s.fill(s.Argv, connectionFile) }

// StreamCommand returns the command line that starts the kernel with an inherited stream. See package stream. It
// returns nil if the kernelspec has no such command, or an invalid one.
//
//	"metadata": {"cellhold": {"stream": ["python", "…"]}}
func (s KernelSpec) StreamCommand(connectionFile string) []string {
	var ours struct {
		Stream []*string `json:"stream"` // pointers show a null
	}
	if json.Unmarshal(s.Metadata["cellhold"], &ours) != nil || len(ours.Stream) == 0 {
		return nil
	}
	argv := make([]string, len(ours.Stream))
	for i, a := range ours.Stream {
		if a == nil {
			return nil
		}
		argv[i] = *a
	}
	return s.fill(argv, connectionFile)
}

// fill returns argv without placeholders.
func (s KernelSpec) fill(argv []string, connectionFile string) []string {
	r := strings.NewReplacer("{connection_file}", connectionFile, "{resource_dir}", s.Dir)
	filled := make([]string, len(argv))
	for i, a := range argv {
		filled[i] = r.Replace(a)
	}
	return filled
}

func specDir(prefix string) string { return filepath.Join(prefix, "share", "jupyter", "kernels") }

func kernelNames(prefixes []string) []string {
	var names []string
	for _, p := range prefixes {
		entries, _ := os.ReadDir(specDir(p)) // a prefix without kernels counts as empty
		for _, e := range entries {
			file := filepath.Join(specDir(p), e.Name(), "kernel.json")
			if _, err := os.Stat(file); err == nil && kernelName.MatchString(e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func readKernelSpec(dir string) (KernelSpec, error) {
	s := KernelSpec{Name: filepath.Base(dir), Dir: dir, InterruptMode: "signal"}
	b, err := readSmall(filepath.Join(dir, "kernel.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && len(s.Argv) == 0 {
		err = errors.New("argv is missing")
	}
	if err == nil && s.InterruptMode != "signal" && s.InterruptMode != "message" {
		err = fmt.Errorf("interrupt_mode is %.20q; it must be signal or message", s.InterruptMode)
	}
	if err != nil {
		return KernelSpec{}, fmt.Errorf("kernelspec %s: %w", s.Name, err)
	}
	return s, nil
}

// readSmall reads a plain file of bounded size. It does not block on a pipe in place of the file.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a plain file", path))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKernelSpec+1))
	if len(b) > maxKernelSpec {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxKernelSpec)
	}
	return b, err
}
