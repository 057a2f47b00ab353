package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// reserveBytes is enough for the write-ahead log of one deletion and its write-back.
const reserveBytes = 16 << 20

// reserve is the path of a file that only takes up space, which a deletion can use when the disk is
// full. Without it a full disk could not be emptied through the API.
type reserve string

// fill takes the space if we do not have it.
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
		_ = f.Truncate(0) // some file systems keep a part of it
		return err
	}
	return nil
}

// release gives the space up and reports whether there was some.
func (r reserve) release() bool {
	info, err := os.Stat(string(r))
	return err == nil && info.Size() > 0 && os.Truncate(string(r), 0) == nil
}
