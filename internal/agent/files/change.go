package files

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"syscall"
	"unsafe"

	"cellhold"
	"cellhold/internal/guestapi"
)

// mkdir makes a directory and those above it.
func (h *handler) mkdir(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	if info, err := os.Stat(p); err == nil && info.IsDir() {
		return answerEntry(w, http.StatusOK, p)
	}
	if _, err := makeDirs(p); err != nil {
		return err
	}
	return answerEntry(w, http.StatusCreated, p)
}

// makeDirs makes the missing directories of a path. undo removes them again while they are empty.
func makeDirs(p string) (undo func(), err error) {
	var made []string
	undo = func() {
		for i := len(made) - 1; i >= 0 && os.Remove(made[i]) == nil; i-- {
			// Remove fails for a directory that is not empty, and then its parents stay too
		}
	}
	var missing []string
	for dir := p; ; dir = path.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			if !info.IsDir() {
				return undo, cellhold.Errorf(cellhold.Conflict, "A part of the path is a file; a directory is needed there.")
			}
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			if errors.Is(err, syscall.ENOTDIR) {
				return undo, cellhold.Wrap(cellhold.Conflict, err, "A part of the path is a file; a directory is needed there.")
			}
			return undo, err
		}
		missing = append(missing, dir)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		err := os.Mkdir(missing[i], 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue // made by other code, or a link to nothing: undo must not remove it
		}
		if err != nil {
			undo()
			return undo, err
		}
		made = append(made, missing[i])
	}
	return undo, nil
}

// move renames a path. To another file system it copies.
func (h *handler) move(w http.ResponseWriter, r *http.Request) error {
	from, err := h.path(r, "from")
	if err != nil {
		return err
	}
	to, err := h.path(r, "to")
	if err != nil {
		return err
	}
	if err := errors.Join(h.checkRemovable(from), h.checkRemovable(to)); err != nil {
		return err
	}
	if _, err := os.Lstat(from); err != nil {
		return err
	}
	undo, err := makeDirs(path.Dir(to))
	if err != nil {
		return err
	}
	replace := r.URL.Query().Get("replace") == "true"
	if err := rename(from, to, replace); errors.Is(err, syscall.EXDEV) {
		err = h.moveByCopy(r, from, to, replace)
		if err != nil {
			undo()
			return err
		}
	} else if err != nil {
		undo()
		if errors.Is(err, syscall.EINVAL) {
			return cellhold.Wrap(cellhold.Invalid, err, "A directory cannot be moved into itself.")
		}
		return err
	}
	return answerEntry(w, http.StatusOK, to)
}

// renameNoReplace is the flag RENAME_NOREPLACE. With it, renameat2 renames atomically, and fails if the new path exists.
const renameNoReplace = 1

func rename(from, to string, replace bool) error {
	if replace {
		return os.Rename(from, to)
	}
	a, err := syscall.BytePtrFromString(from)
	if err != nil {
		return err
	}
	b, err := syscall.BytePtrFromString(to)
	if err != nil {
		return err
	}
	const here = -0x64 // AT_FDCWD
	cwd := here
	if _, _, e := syscall.Syscall6(sysRenameat2, uintptr(cwd), uintptr(unsafe.Pointer(a)), uintptr(cwd), uintptr(unsafe.Pointer(b)), renameNoReplace, 0); e != 0 {
		return e
	}
	return nil
}

// remove removes the entry at a path. It removes a link itself, not its target.
func (h *handler) remove(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	if err := h.checkRemovable(p); err != nil {
		return err
	}
	if _, err := os.Lstat(p); err != nil {
		return err
	}
	if r.URL.Query().Get("recursive") == "true" {
		err = os.RemoveAll(p)
	} else {
		err = os.Remove(p)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// moveByCopy moves to another file system. It copies under a temporary name first, and removes the original
// when the copy is at its path.
func (h *handler) moveByCopy(r *http.Request, from, to string, replace bool) error {
	root, err := os.OpenRoot(path.Dir(to))
	if err != nil {
		return err
	}
	defer root.Close()
	if there, err := root.Lstat(path.Base(to)); err == nil && (!replace || there.IsDir()) {
		return fs.ErrExist
	}
	temp := tempPrefix + rand.Text()
	defer root.RemoveAll(temp)
	if err := root.Mkdir(temp, 0o700); err != nil {
		return err
	}
	inside, err := root.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := copyTo(r.Context(), inside, from); err != nil {
		return err
	}
	if err := root.Rename(path.Join(temp, path.Base(from)), path.Base(to)); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

// copyTo copies the entry at a path into a directory, under the same name.
func copyTo(ctx context.Context, dir *os.Root, from string) error {
	parent, err := os.OpenRoot(path.Dir(from))
	if err != nil {
		return err
	}
	defer parent.Close()
	w := &walker{root: parent, to: copySink{dir}, left: guestapi.MaxArchiveEntries}
	name := path.Base(from)
	if err := w.entry(name, name); err != nil {
		return err
	}
	for len(w.dirs) > 0 {
		next := w.dirs[len(w.dirs)-1]
		w.dirs = w.dirs[:len(w.dirs)-1]
		if err := w.directory(ctx, next); err != nil {
			return err
		}
	}
	if _, err := dir.Lstat(name); err != nil {
		return cellhold.Wrap(cellhold.Denied, err, "A device, a pipe or a socket cannot be moved to another file system.")
	}
	return nil
}

// copySink makes a copy of a tree.
type copySink struct{ root *os.Root }

func (s copySink) directory(name string, info fs.FileInfo) error {
	return s.root.Mkdir(name, info.Mode().Perm()|0o700)
}

func (s copySink) link(name string, _ fs.FileInfo, target string) error {
	return s.root.Symlink(target, name)
}

func (s copySink) file(name string, info fs.FileInfo, r io.Reader) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = copyN(f, r, info.Size())
	return errors.Join(err, f.Chmod(info.Mode().Perm()), f.Close(), s.root.Chtimes(name, info.ModTime(), info.ModTime()))
}
