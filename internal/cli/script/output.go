package script

import (
	"cellhold/internal/cli/console"
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

// Output is the value of --output of run: a folder, or a size. serve has a flag of the same name that is a size, and
// configuration files and the environment set both flags.
type Output struct {
	folder string
	Size   console.Size
}

// UnmarshalText reads a size, or else a folder.
func (t *Output) UnmarshalText(text []byte) error {
	var s console.Size
	if s.UnmarshalText(text) == nil {
		t.Size = s
		return nil
	}
	t.folder = string(text)
	return nil
}

// MarshalText writes what was read.
func (t Output) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// String returns the value in the form in which it was read.
func (t Output) String() string {
	if t.folder != "" || t.Size == 0 {
		return t.folder
	}
	return t.Size.String()
}

// Place returns the destination of a script's files.
func (t Output) Place(s *source) (*destination, error) {
	p := &destination{dir: s.Folder(), name: s.stem()}
	if t.folder == "" {
		return p, nil
	}
	ours, err := claim(t.folder, s.Folder())
	if err != nil {
		return nil, fmt.Errorf("--output: %w", err)
	}
	p.dir, p.named, p.ours = t.folder, true, ours
	return p, nil
}

// mark is the file that marks a folder for the files of scripts. A folder without it can contain the user's own
// files.
const mark = ".cellhold-output"

const markText = "This folder contains files of scripts that `cellhold run --output` ran. A later run replaces files here.\n" +
	"If you remove this file, later runs replace nothing.\n"

// claim creates a folder if it does not exist, and reports whether it is ours: marked, or empty and marked now. The
// script's folder, the current directory and the user's home are never ours, even if they are empty.
func claim(dir, scripts string) (ours bool, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	there, err := os.Stat(dir)
	if err != nil {
		return false, err
	}
	home, _ := os.UserHomeDir() // empty if unknown
	for _, other := range []string{scripts, ".", home} {
		if info, err := os.Stat(other); err == nil && os.SameFile(info, there) {
			return false, nil
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if info, err := root.Lstat(mark); err == nil {
		return info.Mode().IsRegular(), nil
	}
	if empty, err := isEmpty(root); err != nil || !empty {
		return false, err
	}
	f, err := root.OpenFile(mark, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(markText)
	return err == nil, errors.Join(err, f.Close())
}

func isEmpty(root *os.Root) (bool, error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer dir.Close()
	_, err = dir.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// destination is the folder on this machine for the files of a script.
type destination struct {
	dir   string
	name  string // of the script, without the extension
	named bool   // set by --output
	// ours is set for a folder that contains only files of scripts: a later run can replace them. Any other folder
	// contains files of the user, and programs obey some names there.
	ours bool
}

// Stem is the path of figures without number and extension.
func (p *destination) Stem() string { return filepath.Join(p.dir, p.name) }

// errTaken says that a file cannot be at its place: a file exists there, or other programs would obey the new file.
var errTaken = errors.New("taken")

// objection returns why a new file with this path must not be in the folder, or "".
func (p *destination) objection(name string) string {
	switch {
	case p.ours:
	case hidden(name):
		return "a hidden file is not put into a folder with other files"
	case !data(name):
		return "programs may run or obey this file, and only data is put into a folder with other files"
	}
	return ""
}

// keep writes a file below the folder. The path comes from the guest: keep follows no links. The file is either
// written completely or does not exist.
func (p *destination) keep(name string, from io.Reader) error {
	if p.objection(name) != "" {
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
	case err == nil && (!p.ours || info.IsDir()):
		return errTaken
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return p.write(root, name, from)
}

// partial is the prefix of the name of an incomplete file that will replace another file.
const partial = ".cellhold-part"

func (p *destination) write(root *os.Root, name string, from io.Reader) (err error) {
	at := name
	if p.ours {
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
	if err = errors.Join(err, f.Close()); err == nil && p.ours {
		err = root.Rename(at, name) // replaces a link, not its target
	}
	if err != nil {
		return errors.Join(err, root.Remove(at))
	}
	return nil
}

// makeFolders creates the folders of a path. It fails at a part that is a link or not a folder.
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

// oddName returns why this machine must not use a path of the guest, or "".
func oddName(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "its name is not valid UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || console.ChangesDirection(r) }):
		return "its name contains control characters"
	case !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, `\`):
		return "its name points out of the folder"
	}
	for part := range strings.SplitSeq(name, "/") {
		if why := reserved(part); why != "" {
			return why
		}
	}
	return ""
}
