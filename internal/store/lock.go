package store

import (
	"cellhold"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Lock locks the store in a directory, and opens no database. The lock ends with Close, or with this process. If another
// server has the store open, the error is a Conflict.
func Lock(dir string) (io.Closer, error) {
	f, err := lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	_ = sign(f) // on a full disk the file has an older id, which only an error text uses
	return f, nil
}

// lock locks the file for this process, which must then sign it. If another process holds the lock, the error has its id,
// which is the content of the file. The kernel releases the lock when the process ends, so a crash leaves no lock behind.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = inUse(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	return f, nil
}

func inUse(f *os.File) error {
	owner, _ := io.ReadAll(io.LimitReader(f, 20)) // a process id
	return cellhold.Errorf(cellhold.Conflict, "Another server (process %s) uses the directory %s. Stop that server, or use another directory with --home.",
		strings.TrimSpace(string(owner)), filepath.Dir(f.Name()))
}

// sign writes the id of this process into the lock file.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(f, os.Getpid())
	return err
}
