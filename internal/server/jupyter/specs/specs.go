// Package specs reads the kernelspecs of an image from the image's files on the host, so that no sandbox must run.
//
// Images are not trusted: all reads stay inside the image, and are bounded. The package starts no kernels.
package specs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"cellhold/internal/lazy"
)

const (
	// maxSpecs is the maximum number of kernelspecs of an image.
	maxSpecs = 100
	// maxFile is far above the size of a real kernel.json (about 200 bytes).
	maxFile = 64 << 10
	// maxResource is the maximum size of a logo.
	maxResource = 1 << 20
	// maxText is the maximum size of a name for people.
	maxText = 200
	// maxResources is the maximum number of logos of a kernelspec.
	maxResources = 10
)

var (
	// specName is the pattern of names, which are names of folders. Jupyter's clients accept these names.
	specName = lazy.Regexp(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)
	// logoName is the pattern of the files that can be read. Jupyter would also serve scripts, which a browser would run.
	logoName = lazy.Regexp(`^logo-[a-z0-9]{1,20}\.(png|svg)$`)
)

// folders are where the agent looks for kernelspecs.
var folders = []string{"usr/local/share/jupyter/kernels", "usr/share/jupyter/kernels", "share/jupyter/kernels"}

// Spec is a kernelspec.
type Spec struct {
	Name          string   `json:"-"`
	DisplayName   string   `json:"display_name"`
	Language      string   `json:"language"`
	Argv          []string `json:"argv"`
	InterruptMode string   `json:"interrupt_mode"`
	Logos         []string `json:"-"` // names of its logos, sorted
}

// Read returns the kernelspecs in a root file system, sorted by name. It leaves out invalid ones.
func Read(rootfs string) ([]Spec, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, fmt.Errorf("read kernelspecs: %w", err)
	}
	defer root.Close()
	var all []Spec
	for _, folder := range folders {
		for _, name := range names(root, folder, maxSpecs) {
			known := func(s Spec) bool { return s.Name == name }
			if !specName().MatchString(name) || slices.ContainsFunc(all, known) || len(all) == maxSpecs {
				continue
			}
			if s, err := readSpec(root, path.Join(folder, name)); err == nil {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b Spec) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Logo returns a logo of a kernelspec. If there is none, the error wraps fs.ErrNotExist.
func Logo(rootfs, spec, file string) ([]byte, error) {
	if !specName().MatchString(spec) || !logoName().MatchString(file) {
		return nil, fs.ErrNotExist
	}
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, fmt.Errorf("read a logo: %w", err)
	}
	defer root.Close()
	for _, folder := range folders {
		b, err := readFile(root, path.Join(folder, spec, file), maxResource)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, fs.ErrNotExist
}

// names returns at most n names in a folder, sorted. A folder that cannot be read counts as empty.
func names(root *os.Root, folder string, n int) []string {
	f, err := root.OpenFile(folder, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	list, _ := f.Readdirnames(n) // the names before an error are good
	slices.Sort(list)
	return list
}

func readSpec(root *os.Root, folder string) (Spec, error) {
	b, err := readFile(root, path.Join(folder, "kernel.json"), maxFile)
	if err != nil {
		return Spec{}, err
	}
	s := Spec{InterruptMode: "signal"}
	if err := json.Unmarshal(b, &s); err != nil {
		return Spec{}, err
	}
	s.Name = path.Base(folder)
	if len(s.Argv) == 0 || len(s.DisplayName) > maxText || len(s.Language) > maxText {
		return Spec{}, errors.New("argv is missing, or a text is too long")
	}
	for _, name := range names(root, folder, maxSpecs) {
		if logoName().MatchString(name) && len(s.Logos) < maxResources {
			s.Logos = append(s.Logos, name)
		}
	}
	return s, nil
}

// readFile reads a plain file of bounded size. It does not block on a pipe in place of the file.
func readFile(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a plain file", name, fs.ErrNotExist)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return b, nil
}
