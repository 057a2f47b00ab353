package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// reserveBytes is enough for SQLite's write-ahead log of one deletion, and for the checkpoint that writes the log back.
const reserveBytes = 16 << 20

// reserve is the path of a file that only occupies space. A deletion can use this space when the disk is full. Without it,
// a full disk could not be freed through the API.
type reserve string

// fill occupies the space, unless it is occupied already.
func (r reserve) fill() error {
	f, err := os.OpenFile(string(r), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == reserveBytes {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, reserveBytes); err != nil {
		_ = f.Truncate(0) // some file systems keep a part of the allocation
		return err
	}
	return nil
}

// release frees the space, and reports whether there was any.
func (r reserve) release() bool {
	info, err := os.Stat(string(r))
	return err == nil && info.Size() > 0 && os.Truncate(string(r), 0) == nil
}
