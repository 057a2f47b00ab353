package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/rawio"
)

const (
	// maxEntries bounds the entries that one walk of the directory visits. User code can fill the directory
	// with a million names that are not files.
	maxEntries = 16 * guestapi.MaxFiles
	// readChunk is the number of names that are read at once.
	readChunk = 256
	// uploadPrefix begins the names of files that are not complete yet. They are not listed.
	uploadPrefix = ".cellhold-upload-"
)

// files is the output directory. Its files outlive the session. User code can change it at any time. So every
// name is resolved below the open directory, and every opened file is checked again.
type files struct {
	dir      string
	uid, gid int
	root     *os.Root // set by open
	top      *os.File // the directory itself

	mu    sync.Mutex
	seen  map[string]stamp // by path, at the last call of changed
	empty time.Time        // time of the directory's last change if it is empty since then; otherwise zero
}

// settled is the age from which the modification time of a directory is reliable. Some clocks advance in steps of
// milliseconds, so two changes in one step have the same time.
const settled = time.Second

// stamp distinguishes the versions of a file without a read of its content. User code can forge it. Then the host
// only misses a change of the code's own file.
type stamp struct {
	size     int64
	modified time.Time
}

// open makes the directory if it is missing, and opens it.
func (f *files) open() error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("make the output directory: %w", err)
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return fmt.Errorf("open the output directory: %w", err)
	}
	top, err := root.Open(".")
	if err != nil {
		root.Close()
		return fmt.Errorf("open the output directory: %w", err)
	}
	f.root, f.top = root, top
	return nil
}

func (f *files) close() {
	f.top.Close()
	f.root.Close()
}

// changed reports whether files have changed since its last call. A directory that cannot be read counts as
// unchanged, because the host cannot fetch its files.
func (f *files) changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	touched := f.touched()
	if !f.empty.IsZero() && touched.Equal(f.empty) {
		return false // one system call instead of ten, at the end of most cells
	}
	var now map[string]stamp
	differs := false
	entries := f.walk(func(name string, info fs.FileInfo) {
		if now == nil {
			now = make(map[string]stamp, len(f.seen))
		}
		s := stamp{info.Size(), info.ModTime()}
		now[name] = s
		differs = differs || f.seen[name] != s
	})
	differs = differs || len(now) != len(f.seen)
	f.seen, f.empty = now, time.Time{}
	if entries == 0 && time.Since(touched) > settled {
		f.empty = touched
	}
	return differs
}

// touched returns the time at which an entry of the directory was last added or removed. It is zero if
// the time cannot be read.
func (f *files) touched() time.Time {
	t, _ := rawio.Modified(f.top)
	return t
}

// list returns the regular files, sorted by path.
func (f *files) list() []guestapi.File {
	list := []guestapi.File{}
	f.walk(func(name string, info fs.FileInfo) {
		list = append(list, guestapi.File{Path: name, Size: info.Size(), Modified: info.ModTime().UTC()})
	})
	slices.SortFunc(list, func(a, b guestapi.File) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// walk visits the regular files with a usable name, within the bounds. It skips files that disappear during
// the walk or cannot be read. It returns the number of entries of all types that it visited.
func (f *files) walk(visit func(name string, info fs.FileInfo)) int {
	w := walker{root: f.root, visit: visit, entries: maxEntries, files: guestapi.MaxFiles}
	for w.dirs = []string{"."}; len(w.dirs) > 0 && w.entries > 0 && w.files > 0; {
		dir := w.dirs[len(w.dirs)-1]
		w.dirs = w.dirs[:len(w.dirs)-1]
		w.directory(dir)
	}
	return maxEntries - w.entries
}

type walker struct {
	root    *os.Root
	visit   func(name string, info fs.FileInfo)
	dirs    []string // not read yet
	entries int      // entries that can still be visited
	files   int      // files that can still be found
}

func (w *walker) directory(dir string) {
	// With O_DIRECTORY, a FIFO that user code put at this path cannot block the agent.
	d, err := w.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer d.Close()
	for w.entries > 0 && w.files > 0 {
		entries, err := d.ReadDir(min(readChunk, w.entries))
		w.entries -= len(entries)
		for _, e := range entries {
			w.entry(path.Join(dir, e.Name()), e)
		}
		if err != nil {
			return
		}
	}
}

func (w *walker) entry(name string, e fs.DirEntry) {
	if checkPath(name) != nil || w.files == 0 {
		return
	}
	switch {
	case e.IsDir():
		w.dirs = append(w.dirs, name)
	case e.Type().IsRegular() && !strings.HasPrefix(e.Name(), uploadPrefix):
		if info, err := w.root.Lstat(name); err == nil && info.Mode().IsRegular() {
			w.files--
			w.visit(name, info)
		}
	}
}

// checkPath fails for a path that is not plain, relative and within the bounds.
func checkPath(name string) error {
	switch {
	case len(name) > guestapi.MaxPath || strings.Count(name, "/") >= guestapi.MaxDepth:
		return cellhold.Errorf(cellhold.Invalid, "The path is too long or too deep.")
	case !fs.ValidPath(name) || name == "." || !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return cellhold.Errorf(cellhold.Invalid, "The path must be relative and printable, without empty, \".\" or \"..\" parts.")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// get opens a regular file for reading and returns the number of bytes to send.
func (f *files) get(name string) (*os.File, int64, error) {
	if err := checkPath(name); err != nil {
		return nil, 0, err
	}
	gone := cellhold.Errorf(cellhold.NotFound, "The file does not exist.")
	// The type is checked twice. The check before the open avoids opening a device. The check after it
	// finds a file that user code has exchanged.
	if info, err := f.root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, 0, gone
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, gone
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, 0, gone
	}
	return file, info.Size(), nil
}

// put writes a file, and replaces an existing one. The new content appears completely or not at all.
func (f *files) put(name string, r io.Reader) error {
	if err := checkPath(name); err != nil {
		return err
	}
	if err := f.parents(path.Dir(name)); err != nil {
		return putError(err)
	}
	upload := path.Join(path.Dir(name), uploadPrefix+rand.Text())
	if err := f.write(upload, r); err != nil {
		f.root.Remove(upload)
		return putError(err)
	}
	if err := f.root.Rename(upload, name); err != nil {
		f.root.Remove(upload)
		return putError(err)
	}
	f.remember(name)
	return nil
}

// parents makes the directories that are missing.
func (f *files) parents(dir string) error {
	if dir == "." {
		return nil
	}
	if err := f.parents(path.Dir(dir)); err != nil {
		return err
	}
	err := f.root.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil || f.uid == 0 {
		return err
	}
	return f.root.Lchown(dir, f.uid, f.gid)
}

func (f *files) write(name string, r io.Reader) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	if f.uid != 0 {
		err = errors.Join(err, file.Chown(f.uid, f.gid))
	}
	return errors.Join(err, file.Close())
}

// remember records a file that the host has written, so that changed does not report it.
func (f *files) remember(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := f.root.Lstat(name)
	if err != nil {
		return
	}
	if f.seen == nil {
		f.seen = make(map[string]stamp)
	}
	f.seen[name] = stamp{info.Size(), info.ModTime()}
}

func putError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return cellhold.Wrap(cellhold.Exhausted, err, "The disk has no space for the file.")
	case errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, fs.ErrExist):
		return cellhold.Wrap(cellhold.Conflict, err, "A directory exists at the path, or a file exists where the path needs a directory. Remove it, or use another path.")
	}
	return cellhold.Wrap(cellhold.Internal, err, "The file could not be written.")
}
