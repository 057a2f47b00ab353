package snapshots

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// Draft is a snapshot that is being written.
type Draft struct {
	s    *Store
	name string
	dir  string
	lock *os.File
}

// Draft creates a directory for the files of a snapshot of about size bytes. It returns sandbox.ErrSpace if the disk has
// too little space in addition to the reserve.
func (s *Store) Draft(name string, size int64) (*Draft, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := s.checkSpace(size); err != nil {
		return nil, err
	}
	d := &Draft{s: s, name: name, dir: s.newDraftDir()}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return nil, d.Explain(err)
	}
	var err error
	if d.lock, err = lockDir(d.dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	return d, nil
}

func (s *Store) newDraftDir() string { return filepath.Join(s.o.Dir, draftPrefix+rand.Text()) }

// checkSpace checks that size bytes can be written.
func (s *Store) checkSpace(size int64) error {
	if s.o.Reserve < 0 {
		return nil
	}
	free, err := s.free()
	if err != nil || free-size >= s.o.Reserve {
		return err
	}
	return fmt.Errorf("%w: a snapshot needs about %d MB, %d MB are free, and %d MB must stay free",
		sandbox.ErrSpace, size>>20, free>>20, s.o.Reserve>>20)
}

func (s *Store) free() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.o.Dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// IsFull reports whether a write failed because the disk or the quota of its user is full. The error of a program has only
// the text.
func IsFull(err error) bool {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT} {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// Explain adds sandbox.ErrSpace to a write error if the disk or the quota is full.
func (d *Draft) Explain(err error) error {
	if IsFull(err) {
		return fmt.Errorf("%w: %w", sandbox.ErrSpace, err)
	}
	const little = 16 << 20 // a writer fails when its next block does not fit
	free, ferr := d.s.free()
	if ferr != nil || free >= max(d.s.o.Reserve, little) {
		return err
	}
	return fmt.Errorf("%w: %d MB are free: %w", sandbox.ErrSpace, free>>20, err)
}

// Dir returns the directory for the files.
func (d *Draft) Dir() string { return d.dir }

// Commit puts the snapshot into its place atomically. It replaces a snapshot with the same name.
func (d *Draft) Commit(ctx context.Context, r Record) error {
	fingerprint, err := d.measure(ctx, &r)
	if err != nil {
		return err
	}
	r.Name, r.Key, r.Boot = d.name, rand.Text(), d.s.o.Boot
	if err := r.save(d.dir); err != nil {
		return err
	}
	place := filepath.Join(d.s.o.Dir, d.name)
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if err := swap(d.dir, place); err != nil {
		return err
	}
	d.s.checks.saved(d.name, fingerprint)
	d.s.syncLater(d.name, r.Key)
	return nil
}

// measure records the sizes and checksums of the files, and returns their fingerprint.
func (d *Draft) measure(ctx context.Context, r *Record) (fingerprint string, err error) {
	if r.Files, err = sizes(d.dir); err != nil {
		return "", err
	}
	files, err := openFiles(d.dir, r.Files)
	if err != nil {
		return "", err
	}
	defer files.close()
	if fingerprint, err = files.fingerprint(); err != nil {
		return "", err
	}
	r.Sums, err = files.sums(ctx)
	return fingerprint, err
}

// swap moves dir to place. If place exists, the two directories are exchanged.
func swap(dir, place string) error {
	err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, place, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, place, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return &fs.PathError{Op: "rename", Path: place, Err: err}
	}
	return nil
}

// Close removes the draft. After Commit it removes the snapshot that was replaced.
func (d *Draft) Close() error {
	return errors.Join(os.RemoveAll(d.dir), d.lock.Close())
}
