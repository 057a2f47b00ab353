package store

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// reserveBytes is enough for SQLite's write-ahead log of one deletion, and for the checkpoint that writes the log back.
	reserveBytes = 16 << 20
	// minReserve is the smallest reserve that is worth its file.
	minReserve = 1 << 20
	// openBytes is more than Open writes.
	openBytes = 1 << 20
)

// reserve is the path of a file that only occupies space. A deletion can use this space when the disk is full. Without it,
// a full disk could not be freed through the API.
type reserve string

// fill occupies the space, unless it is occupied already. If the disk has less space, fill occupies a half, a quarter and
// so on.
func (r reserve) fill() error {
	f, err := os.OpenFile(string(r), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for size := int64(reserveBytes); size >= minReserve && size > info.Size(); size /= 2 {
		if err = unix.Fallocate(int(f.Fd()), 0, 0, size); err == nil {
			return nil
		}
		_ = f.Truncate(info.Size()) // some file systems keep a part of the allocation
	}
	if info.Size() > 0 {
		return nil // a smaller reserve
	}
	return err
}

// release frees the space, and reports whether there was any.
func (r reserve) release() bool {
	info, err := os.Stat(string(r))
	return err == nil && info.Size() > 0 && os.Truncate(string(r), 0) == nil
}

// releaseToOpen frees the space if the disk has too little to open the database, and reports whether it did.
func (r reserve) releaseToOpen() bool {
	var fs unix.Statfs_t
	err := unix.Statfs(filepath.Dir(string(r)), &fs)
	return err == nil && int64(fs.Bavail)*fs.Bsize < openBytes && r.release()
}
