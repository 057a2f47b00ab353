package files

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path"
	"strconv"
	"syscall"

	"cellhold"
)

const (
	// temporary begins the names of what is not complete yet.
	temporary = ".cellhold-upload-"
	// copyBuffer is how much of a file is in memory: enough that the system calls do not count.
	copyBuffer = 256 << 10
	// Magic numbers of file systems whose files are not stored bytes: reading can block, or do things.
	procMagic, sysMagic, cgroupMagic = 0x9fa0, 0x62656572, 0x27e0eb
)

// get sends a part of a regular file. Its size is that of the moment of opening: what it grows by
// later is not sent, and if it shrinks the answer breaks off.
func (h *handler) get(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	offset, err := number(r, "offset", 0)
	if err != nil {
		return err
	}
	length, err := number(r, "length", math.MaxInt64)
	if err != nil {
		return err
	}
	f, info, err := openRegular(p)
	if err != nil {
		return err
	}
	defer f.Close()
	if v := r.URL.Query().Get("version"); v != "" && v != version(info) {
		return cellhold.Errorf(cellhold.Conflict, "The file has changed meanwhile.")
	}
	length = min(length, max(info.Size()-offset, 0))
	if length > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	if _, err := copyN(w, f, length); err != nil {
		panic(http.ErrAbortHandler) // the host sees that it has not got it all
	}
	return nil
}

// copyN is io.CopyN with a larger buffer.
func copyN(w io.Writer, r io.Reader, n int64) (int64, error) {
	done, err := io.CopyBuffer(writerOnly{w}, io.LimitReader(r, n), make([]byte, min(n, copyBuffer)+1))
	if err == nil && done < n {
		err = io.ErrUnexpectedEOF
	}
	return done, err
}

// writerOnly hides a writer's own way of copying, which would not use our buffer.
type writerOnly struct{ io.Writer }

// openRegular opens a regular file for reading. What it is is looked at before, so that opening
// does nothing to a device, and after, because user code may have put something else there. Not to
// block is asked for all the same.
func openRegular(p string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, nil, err
	}
	if err := checkRegular(info); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = checkOpen(f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// checkOpen refuses an open file that is not stored bytes.
func checkOpen(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkRegular(info); err != nil {
		return nil, err
	}
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	switch uint32(st.Type) {
	case procMagic, sysMagic, cgroupMagic:
		return nil, cellhold.Errorf(cellhold.Denied, "This is a window to the operating system and no stored file.")
	}
	return info, nil
}

func checkRegular(info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return cellhold.Errorf(cellhold.Conflict, "This is a directory; ask for it as an archive.")
	}
	return cellhold.Errorf(cellhold.Denied, "This is no regular file but a device, a pipe or a socket.")
}

// put writes a file. It gets its name when it is complete: until then it stands beside it under
// another, in a directory that is held open, so that moving directories about changes nothing.
func (h *handler) put(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", math.MaxInt64)
	if err != nil {
		return err
	}
	mode, err := number(r, "mode", 0)
	if err != nil || mode > 0o777 {
		return cellhold.Errorf(cellhold.Invalid, "The mode must be permission bits only.")
	}
	if err := h.refuseFixed(p); err != nil {
		return err
	}
	undo, err := makeDirs(path.Dir(p))
	if err != nil {
		return err
	}
	if err := h.replace(p, r, limit, fs.FileMode(mode)); err != nil {
		undo()
		return err
	}
	return answerEntry(w, http.StatusOK, p)
}

func (h *handler) replace(p string, r *http.Request, limit int64, mode fs.FileMode) error {
	root, err := os.OpenRoot(path.Dir(p))
	if err != nil {
		return err
	}
	defer root.Close()
	name := path.Base(p)
	info, err := root.Lstat(name)
	if err == nil && info.IsDir() {
		return cellhold.Errorf(cellhold.Conflict, "A directory stands at this path.")
	}
	if mode == 0 {
		mode = 0o644
		if err == nil && info.Mode().IsRegular() {
			mode = info.Mode().Perm()
		}
	}
	if err := checkRoom(root, r.ContentLength); err != nil {
		return err
	}
	temp := temporary + rand.Text()
	if err := receive(root, temp, r.Body, limit, mode); err != nil {
		_ = root.Remove(temp) // it may never have been made
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		_ = root.Remove(temp)
		return err
	}
	return nil
}

// checkRoom refuses at once what cannot fit, rather than after it has been sent.
func checkRoom(root *os.Root, size int64) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(dir.Fd()), &st); err != nil || st.Blocks == 0 {
		return nil // nothing is known; writing will tell
	}
	if size > 0 && uint64(size) > st.Bavail*uint64(st.Bsize) {
		return syscall.ENOSPC
	}
	return nil
}

func receive(root *os.Root, name string, body io.Reader, limit int64, mode fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(writerOnly{f}, io.LimitReader(body, limit), make([]byte, copyBuffer))
	if err == nil && n == limit {
		if more, _ := body.Read(make([]byte, 1)); more > 0 {
			err = cellhold.Errorf(cellhold.Exhausted, "The content is larger than the %d bytes that it may have here.", limit)
		}
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}
