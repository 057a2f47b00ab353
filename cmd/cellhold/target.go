package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// target is the value of --output of run: a folder; or a size, as serve takes it and as configuration
// files and the environment say it for both.
type target struct {
	folder string
	size   size
}

// UnmarshalText reads a size, or else a folder.
func (t *target) UnmarshalText(text []byte) error {
	var s size
	if s.UnmarshalText(text) == nil {
		t.size = s
		return nil
	}
	t.folder = string(text)
	return nil
}

// MarshalText writes what was read.
func (t target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// String is what was read.
func (t target) String() string {
	if t.folder != "" || t.size == 0 {
		return t.folder
	}
	return t.size.String()
}

// place says where the files of a script go.
func (t target) place(s *source) (*destination, error) {
	p := &destination{dir: s.folder(), name: s.stem()}
	if t.folder == "" {
		return p, nil
	}
	if err := os.MkdirAll(t.folder, 0o755); err != nil {
		return nil, fmt.Errorf("--output: %w", err)
	}
	there, err := os.Stat(t.folder)
	if err != nil {
		return nil, fmt.Errorf("--output: %w", err)
	}
	here, err := os.Stat(p.dir)
	p.dir, p.named, p.replaces = t.folder, true, err == nil && !os.SameFile(there, here)
	return p, nil
}

// destination is the folder on this machine that a script's files are put into.
type destination struct {
	dir   string
	name  string // of the script, without its ending
	named bool   // by the user
	// replaces is set for a folder that was named for the purpose: a second run may replace what the first
	// one left. In the script's own folder are other things than the script's.
	replaces bool
}

// stem is the path of figures without number and ending.
func (p *destination) stem() string { return filepath.Join(p.dir, p.name) }

// errTaken says that a file cannot be put at its place, because something is there or because other programs
// would obey it.
var errTaken = errors.New("taken")

// keep writes a file at a path below the folder. The path is the guest's, so nothing is reached through a
// link, and the file is there as a whole or not at all.
func (p *destination) keep(name string, from io.Reader) error {
	if !p.replaces && hidden(name) {
		return errTaken
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := makeFolders(root, path.Dir(name)); err != nil {
		return err
	}
	switch info, err := root.Lstat(name); {
	case err == nil && (!p.replaces || info.IsDir()):
		return errTaken
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return p.write(root, name, from)
}

// partial is the name of a file that is not complete yet, where it will replace another.
const partial = ".cellhold-part"

func (p *destination) write(root *os.Root, name string, from io.Reader) (err error) {
	at := name
	if p.replaces {
		at = path.Join(path.Dir(name), fmt.Sprintf("%s-%d", partial, os.Getpid()))
	}
	f, err := root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return errTaken
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Close()); err == nil && p.replaces {
		err = root.Rename(at, name) // which replaces a link itself
	}
	if err != nil {
		return errors.Join(err, root.Remove(at))
	}
	return nil
}

// makeFolders makes the folders of a path. One that is a link, or no folder, is not entered.
func makeFolders(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := makeFolders(root, path.Dir(dir)); err != nil {
		return err
	}
	if err := root.Mkdir(dir, 0o755); !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := root.Lstat(dir)
	if err == nil && !info.IsDir() {
		return errTaken
	}
	return err
}

// hidden reports whether some part of a path is hidden: git, shells and editors obey such files, so code that
// is not trusted must not put them into a folder where somebody works.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return true
		}
	}
	return false
}

// oddName says what is wrong with a path of the guest, and nothing if it can be one here.
func oddName(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "its name is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || directs(r) }):
		return "its name has control characters"
	case !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, `\`):
		return "its name could lead elsewhere"
	}
	return ""
}
