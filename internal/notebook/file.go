package notebook

import (
	"cellhold"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FileOptions configures how a notebook file is written.
type FileOptions struct {
	Mode fs.FileMode // zero means 0600: notebooks contain their users' data
	// Sync waits for the disk. Without it, a power failure can lose the newest file or leave it empty. The
	// loss is harmless if the next start writes the file again from a journal. A crash of the server never
	// damages the file.
	Sync bool
}

// WriteFile replaces the file at path by a notebook. Readers see the complete old file or the complete new file.
// After an error the old file stays. Writers of one path wait for each other.
func WriteFile(path string, o FileOptions, m Meta, cells iter.Seq2[cellhold.Cell, error]) error {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	f, err := openTemporary(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new"))
	if err != nil {
		return fmt.Errorf("write notebook: %w", err)
	}
	defer f.Close() // also releases the lock
	err = f.Chmod(o.Mode)
	if err == nil {
		err = Write(f, m, cells)
	}
	if err == nil && o.Sync {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("file %s: %w", path, err), os.Remove(f.Name()))
	}
	if o.Sync {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// openTemporary opens the temporary file for the new notebook, empty and locked. The file always has the same name,
// so that the next writer reuses a file that a crash left behind. The lock admits one writer at a time, and ends
// with the writer's process.
func openTemporary(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		mine, err := claim(f)
		if err == nil && mine {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// claim locks the file and empties it. mine is false if the previous holder has renamed or removed the
// file.
func claim(f *os.File) (mine bool, err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return false, err
	}
	here, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !os.SameFile(here, there) {
		return false, err
	}
	return true, f.Truncate(0)
}

// syncDir makes the new name survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write notebook: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write notebook: %w", err)
	}
	return nil
}
