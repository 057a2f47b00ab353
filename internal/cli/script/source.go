package script

import (
	"bytes"
	"cellhold/client"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// stdinName is the path of a script on the standard input.
const stdinName = "-"

// notebookEnding is the extension of notebooks.
const notebookEnding = ".ipynb"

// interpreters are the programs that run files, by extension. A file with another extension that begins with #! runs
// itself; all others run with Python.
var interpreters = map[string]string{".py": "python3", ".sh": "bash", ".bash": "bash", ".r": "Rscript"}

// maxSource is the maximum size of a script or notebook. See also largeNotebook.
const maxSource = 64 << 20

// source is one script or notebook.
type source struct {
	path string // stdinName for the standard input
	code []byte // nil for the standard input
	args []string
}

// Open reads a script, except one on the standard input.
func Open(path string, args []string) (*source, error) {
	s := &source{path: path, args: args}
	if path == stdinName {
		return s, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s.code, err = io.ReadAll(io.LimitReader(f, maxSource+1)); err != nil {
		return nil, err
	}
	if len(s.code) > maxSource {
		return nil, fmt.Errorf("%s has more than %d MiB, the limit of a script; pass data with --files", path, maxSource>>20)
	}
	if s.notebook() && len(args) > 0 {
		return nil, errors.New("a notebook takes no arguments")
	}
	return s, nil
}

// name is the name of the script in its working directory.
func (s *source) name() string {
	if s.path == stdinName {
		return stdinName
	}
	return filepath.Base(s.path)
}

// Folder is the script's folder on this machine. For the standard input it is the current directory.
func (s *source) Folder() string {
	if s.path == stdinName {
		return "."
	}
	return filepath.Dir(s.path)
}

// stem is the prefix of the names of figures.
func (s *source) stem() string {
	if s.path == stdinName {
		return "figure"
	}
	return strings.TrimSuffix(s.name(), filepath.Ext(s.name()))
}

func (s *source) notebook() bool { return strings.EqualFold(filepath.Ext(s.path), notebookEnding) }

// executes reports whether the script names its interpreter with #!.
func (s *source) executes() bool {
	_, known := interpreters[strings.ToLower(filepath.Ext(s.path))]
	return !known && bytes.HasPrefix(s.code, []byte("#!"))
}

// command returns the command that runs the script in its directory.
func (s *source) command() client.Run {
	if s.executes() {
		return client.Run{Args: append([]string{workspace + "/" + s.name()}, s.args...)}
	}
	program, ok := interpreters[strings.ToLower(filepath.Ext(s.path))]
	if !ok {
		program = "python3"
	}
	return client.Run{Args: append([]string{program, s.named()}, s.args...)}
}

// named is the script's name as an argument. A name that begins with - would be read as an option.
func (s *source) named() string {
	if name := s.name(); s.path == stdinName || !strings.HasPrefix(name, "-") {
		return name
	}
	return "./" + s.name()
}

// mode is the mode of the script's file.
func (s *source) mode() uint32 {
	if s.executes() {
		return 0o755
	}
	return 0o644
}
