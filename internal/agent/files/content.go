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
	// tempPrefix is the prefix of the names of incomplete files.
	tempPrefix = ".cellhold-upload-"
	// copyBuffer is the size of the buffer for a copy. With it, the system calls cost little next to the copy.
	copyBuffer = 256 << 10
	// Magic numbers of virtual file systems. A read of their files can block or have side effects.
	procMagic, sysMagic, cgroupMagic = 0x9fa0, 0x62656572, 0x27e0eb
)

// get sends a part of a regular file. It sends at most the bytes that the file has at the open, also if the file grows.
// If the file shrinks, get aborts the answer.
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
		return cellhold.Errorf(cellhold.Conflict, "The file has changed since the given version.")
	}
	length = min(length, max(info.Size()-offset, 0))
	if length > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.Header().Set("ETag", `"`+version(info)+`"`)
	w.Header().Set("Last-Modified", info.ModTime().UTC().Format(http.TimeFormat))
	if _, err := copyN(w, f, length); err != nil {
		panic(http.ErrAbortHandler) // the host sees that the content is incomplete
	}
	return nil
}

// copyN is io.CopyN with a larger buffer.
func copyN(w io.Writer, r io.Reader, n int64) (int64, error) {
	buf := make([]byte, min(n, copyBuffer)+1) // never empty: io.CopyBuffer panics on an empty buffer
	done, err := io.CopyBuffer(writerOnly{w}, io.LimitReader(r, n), buf)
	if err == nil && done < n {
		err = io.ErrUnexpectedEOF
	}
	return done, err
}

// writerOnly hides the ReadFrom method of a writer, so that io.CopyBuffer uses the buffer.
type writerOnly struct{ io.Writer }

// openRegular opens a regular file for reading. It checks the type before the open, because the open of a
// device can have side effects. It checks again after the open, because user code can replace the file in
// between. With O_NONBLOCK the open does not block on a pipe that replaced the file.
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
	if info, err = checkStored(f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// checkStored returns the info of an open file. It fails if the file is not regular or is virtual.
func checkStored(f *os.File) (fs.FileInfo, error) {
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
		return nil, cellhold.Errorf(cellhold.Denied, "This is a virtual file of the operating system, not a stored file.")
	}
	return info, nil
}

// checkRegular fails for a directory, a device, a pipe or a socket.
func checkRegular(info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return cellhold.Errorf(cellhold.Conflict, "This is a directory; download it as an archive.")
	}
	return cellhold.Errorf(cellhold.Denied, "This is not a regular file: it is a device, a pipe or a socket.")
}

// put writes a file and answers with its entry. If the write fails, put removes the directories that it made.
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
		return cellhold.Errorf(cellhold.Invalid, "The mode must contain only permission bits.")
	}
	if err := h.checkRemovable(p); err != nil {
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

// replace writes a file under a temporary name and renames it when it is complete. It keeps the directory
// open, so that user code cannot redirect the write by a move of the directory. A mode of 0 keeps the mode of
// the old file.
func (h *handler) replace(p string, r *http.Request, limit int64, mode fs.FileMode) error {
	root, err := os.OpenRoot(path.Dir(p))
	if err != nil {
		return err
	}
	defer root.Close()
	name := path.Base(p)
	info, err := root.Lstat(name)
	if err == nil && info.IsDir() {
		return cellhold.Errorf(cellhold.Conflict, "There is a directory at this path.")
	}
	if mode == 0 {
		mode = 0o644
		if err == nil && info.Mode().IsRegular() {
			mode = info.Mode().Perm()
		}
	}
	if err := checkSpace(root, r.ContentLength); err != nil {
		return err
	}
	temp := tempPrefix + rand.Text()
	if err := receive(root, temp, r.Body, limit, mode); err != nil {
		_ = root.Remove(temp) // the file may not exist
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		_ = root.Remove(temp)
		return err
	}
	return nil
}

// checkSpace fails if the disk has less than size bytes free. The caller checks before it reads the body.
func checkSpace(root *os.Root, size int64) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(dir.Fd()), &st); err != nil || st.Blocks == 0 {
		return nil // the free space is unknown; a write to a full disk fails later
	}
	if size > 0 && uint64(size) > st.Bavail*uint64(st.Bsize) {
		return syscall.ENOSPC
	}
	return nil
}

// receive writes a body to a new file. It fails if the body is larger than limit.
func receive(root *os.Root, name string, body io.Reader, limit int64, mode fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(writerOnly{f}, io.LimitReader(body, limit), make([]byte, copyBuffer))
	if err == nil && n == limit {
		if more, _ := body.Read(make([]byte, 1)); more > 0 {
			err = cellhold.Errorf(cellhold.Exhausted, "The content is larger than the limit of %d bytes.", limit)
		}
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}
