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
	// temporary begins the names of files that are not complete yet.
	temporary = ".cellhold-upload-"
	// copyBuffer is the amount of a file in memory. It is so large that the cost of the system calls does
	// not matter.
	copyBuffer = 256 << 10
	// Magic numbers of file systems whose files are not stored bytes. Reading them can block or have side
	// effects.
	procMagic, sysMagic, cgroupMagic = 0x9fa0, 0x62656572, 0x27e0eb
)

// get sends a part of a regular file. The size is that at the open. Bytes that are added later are not
// sent, and if the file shrinks, the answer is cut.
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
	if _, err := copyN(w, f, length); err != nil {
		panic(http.ErrAbortHandler) // the host sees that the content is incomplete
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

// writerOnly hides the ReadFrom method of a writer, which would not use the given buffer.
type writerOnly struct{ io.Writer }

// openRegular opens a regular file for reading. It checks the type twice. The check before the open keeps
// devices closed. The check after it finds a file that user code has exchanged. O_NONBLOCK protects the
// time between them.
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

// checkOpen fails for an open file that is not stored bytes.
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
		return nil, cellhold.Errorf(cellhold.Denied, "This is a virtual file of the operating system, not a stored file.")
	}
	return info, nil
}

func checkRegular(info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return cellhold.Errorf(cellhold.Conflict, "This is a directory; download it as an archive.")
	}
	return cellhold.Errorf(cellhold.Denied, "This is not a regular file: it is a device, a pipe or a socket.")
}

// put writes a file. The file has a temporary name until it is complete. Its directory is held open, so
// that moved directories change nothing.
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
		return cellhold.Errorf(cellhold.Invalid, "The mode must have permission bits only.")
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
	temp := temporary + rand.Text()
	if err := receive(root, temp, r.Body, limit, mode); err != nil {
		_ = root.Remove(temp) // may not exist
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		_ = root.Remove(temp)
		return err
	}
	return nil
}

// checkSpace refuses a file that is too large for the disk before it is sent.
func checkSpace(root *os.Root, size int64) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(dir.Fd()), &st); err != nil || st.Blocks == 0 {
		return nil // the free space is unknown; the write will fail if there is too little
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
			err = cellhold.Errorf(cellhold.Exhausted, "The content is larger than the limit of %d bytes.", limit)
		}
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}
