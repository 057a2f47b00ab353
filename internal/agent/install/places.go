package install

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cellhold"
)

// places are where a Python keeps packages.
type places struct {
	Libs    []string `json:"libs"`    // purelib and platlib, each once
	Scripts string   `json:"scripts"` // commands of packages
	Data    string   `json:"data"`    // what else packages bring
}

// questionForPlaces asks Python for its places. -S and -I keep hooks and settings of others out.
const questionForPlaces = `import json, sysconfig
p = sysconfig.get_paths()
print(json.dumps({"libs": sorted({p["purelib"], p["platlib"]}), "scripts": p["scripts"], "data": p["data"]}))`

// ask asks Python where it keeps packages. It is asked before anything has been installed, and not
// again: a package could put a Python of its own in place of that one, and make us give away more.
func (r *Room) ask(ctx context.Context, python string) (*places, error) {
	end, err := r.o.Do(ctx, []string{python, "-I", "-S", "-c", questionForPlaces}, []string{"PATH=" + r.o.Path, "LANG=C.UTF-8"}, "/")
	if err != nil {
		return nil, fmt.Errorf("ask Python for its directories: %w", err)
	}
	var p places
	if end.Code != 0 || end.Signal != 0 || json.Unmarshal([]byte(end.Output), &p) != nil || !p.sane() {
		return nil, cellhold.Errorf(cellhold.Unsupported, "The session's Python does not say where it keeps packages.")
	}
	return &p, nil
}

// sane refuses places that are not those of packages, since we give them to the installer.
func (p *places) sane() bool {
	if len(p.Libs) == 0 || len(p.Libs) > 2 {
		return false
	}
	for _, lib := range p.Libs {
		if base := filepath.Base(lib); !filepath.IsAbs(lib) || base != "site-packages" && base != "dist-packages" {
			return false
		}
	}
	return filepath.IsAbs(p.Scripts) && filepath.IsAbs(p.Data)
}

// maxEntries bounds how many directories and files one look at the packages visits: the stock image
// has 25,000, large collections ten times as many.
const maxEntries = 1_000_000

// own gives the directories of packages to the installer's user. The files in them may stay as they
// are: who owns a directory may replace what is in it. Only directories are changed, so the
// session's layer takes no copies of files.
func (r *Room) own(p *places) error {
	if r.o.UID == 0 {
		return nil
	}
	roots := []string{p.Scripts}
	// Of /usr and / only the commands: the rest is the system's.
	private := p.Data != "/" && p.Data != "/usr"
	if private {
		roots = append(roots, p.Data)
	}
	for _, lib := range p.Libs {
		if !private || !strings.HasPrefix(lib, p.Data+"/") {
			roots = append(roots, lib)
		}
	}
	for _, dir := range roots {
		if st, err := os.Stat(dir); err == nil && belongs(st, r.o.UID) {
			continue // an image may be made so: what is below belongs to the installer as well
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return noRoom(err)
		}
		if err := r.ownBelow(dir, dir != p.Scripts); err != nil {
			return noRoom(err)
		}
	}
	return nil
}

// ownBelow gives a directory and, if deep, those below it. Everything happens below an open
// directory: code of a package that was built here could put a link in the place of a
// directory while we look.
func (r *Room) ownBelow(dir string, deep bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := maxEntries
	for name, d := range walk(root, deep) {
		if left--; left < 0 {
			return fmt.Errorf("%s has more than %d entries", dir, maxEntries)
		}
		if name != "." && d.IsDir() {
			if err := r.give(root, name); err != nil {
				return err
			}
		}
	}
	return r.give(root, ".") // last: it is the sign that the rest is done
}

// walk yields what is below a directory, or nothing. What vanishes meanwhile is passed over.
func walk(root *os.Root, deep bool) iter.Seq2[string, fs.DirEntry] {
	return func(yield func(string, fs.DirEntry) bool) {
		if !deep {
			return
		}
		_ = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !yield(name, d) {
				return fs.SkipAll
			}
			return nil
		})
	}
}

func belongs(info fs.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

func (r *Room) give(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return nil
	}
	if belongs(info, r.o.UID) {
		return nil
	}
	return root.Lchown(name, r.o.UID, r.o.GID)
}

// readBounded reads the beginning of a regular file; nil when there is none.
func readBounded(file string, limit int64) []byte {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	return b
}

// topLevel returns what can be imported because of the paths of a package's record.
func topLevel(record []byte) []string {
	var names []string
	for line := range strings.Lines(string(record)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ",")
		file = strings.Trim(file, `"`)
		first, rest, deep := strings.Cut(file, "/")
		switch {
		case strings.HasSuffix(first, ".dist-info") || strings.HasSuffix(first, ".data") || first == ".." || first == "__pycache__" || path.IsAbs(file):
			continue
		case deep && !strings.HasSuffix(rest, ".py") && !strings.HasSuffix(rest, ".so"):
			continue
		case !deep && !strings.HasSuffix(first, ".py") && !strings.HasSuffix(first, ".so"):
			continue
		case !deep:
			first, _, _ = strings.Cut(first, ".")
		}
		if isIdentifier(first) && !slices.Contains(names, first) {
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return names
}

func isIdentifier(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c < 0x80 && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
