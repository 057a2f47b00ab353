package files

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"syscall"

	"cellhold"
	"cellhold/internal/guestapi"
)

// readChunk is the number of names that are read at once.
const readChunk = 256

// list answers with one page of a directory. It reads all names but keeps only the names of the page.
// So a directory of a million names costs time and no memory.
func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", guestapi.MaxPage)
	if err != nil {
		return err
	}
	limit = min(max(limit, 1), guestapi.MaxPage)
	dir, err := openDir(p)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, more, err := page(r, dir, r.URL.Query().Get("after"), int(limit))
	if err != nil {
		return err
	}
	list := guestapi.Listing{Path: cellhold.EscapePath(p), Entries: []guestapi.Entry{}, More: more}
	root, err := os.OpenRoot(fdPath(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range names {
		info, err := root.Lstat(name)
		if err != nil {
			continue // removed during the list
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			target, _ = root.Readlink(name)
		}
		list.Entries = append(list.Entries, entry(name, info, target))
	}
	return answer(w, http.StatusOK, list)
}

// openDir opens a directory. With O_NONBLOCK, a FIFO that user code put at this path cannot block the process.
func openDir(p string) (*os.File, error) {
	dir, err := os.OpenFile(p, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err == nil {
		return dir, nil
	}
	if info, statErr := os.Lstat(p); statErr == nil && !info.IsDir() {
		return nil, cellhold.Wrap(cellhold.Conflict, err, "This is not a directory.")
	}
	return nil, err
}

// fdPath returns a path to an open file that stays valid when the file is moved.
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// page returns the first limit names after a name, in order.
func page(r *http.Request, dir *os.File, after string, limit int) (names []string, more bool, err error) {
	for {
		chunk, err := dir.Readdirnames(readChunk)
		for _, name := range chunk {
			if after != "" && name <= after {
				continue
			}
			if len(names) > limit && name >= names[limit] {
				continue
			}
			at, _ := slices.BinarySearch(names, name)
			names = slices.Insert(names, at, name)
			if len(names) > limit+1 {
				names = names[:limit+1]
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, err
		}
		if err := r.Context().Err(); err != nil {
			return nil, false, err
		}
	}
	if len(names) > limit {
		return names[:limit], true, nil
	}
	return names, false, nil
}

// stat answers with the entry at a path. It describes a link itself, or its target if the request has follow.
func (h *handler) stat(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	if r.URL.Query().Get("follow") != "" {
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		e := entry(path.Base(p), info, "")
		e.Path = cellhold.EscapePath(p)
		return answer(w, http.StatusOK, e)
	}
	return answerEntry(w, http.StatusOK, p)
}

func answerEntry(w http.ResponseWriter, status int, p string) error {
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		target, _ = os.Readlink(p)
	}
	e := entry(path.Base(p), info, target)
	e.Path = cellhold.EscapePath(p)
	return answer(w, status, e)
}

func entry(name string, info fs.FileInfo, target string) guestapi.Entry {
	e := guestapi.Entry{
		Name: cellhold.EscapePath(name), Type: typeOf(info.Mode()), Size: info.Size(), Modified: info.ModTime().UTC(),
		Mode: uint32(info.Mode().Perm()), Target: cellhold.EscapePath(target), Version: version(info),
	}
	if year := e.Modified.Year(); year < 1970 || year > 2200 { // JSON cannot express times of every year
		e.Modified = e.Modified.AddDate(1970-year, 0, 0)
	}
	if e.Type != "file" {
		e.Size = 0
	}
	return e
}

func typeOf(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "file"
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symlink"
	}
	return "other"
}

// version distinguishes the contents of a path.
func version(info fs.FileInfo) string {
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf("%x-%x-%x", uint64(info.ModTime().UnixNano()), info.Size(), inode)
}
