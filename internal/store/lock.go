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

// lock locks the file for this process. If another process holds the lock, the error has its id, which is the content of
// the file. The kernel releases the lock when the process ends, so a crash leaves no lock behind.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = inUse(f)
	}
	if err == nil {
		err = sign(f)
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

func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(f, os.Getpid())
	return err
}
