package shelf

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// Draft is a snapshot in the making.
type Draft struct {
	s    *Shelf
	name string
	dir  string
	lock *os.File
}

// Draft makes a place for a snapshot's files, which may come to that many bytes. Its error is
// sandbox.ErrSpace if the disk has no room for them beyond the reserve.
func (s *Shelf) Draft(name string, size int64) (*Draft, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := s.room(size); err != nil {
		return nil, err
	}
	d := &Draft{s: s, name: name, dir: s.newPlace()}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = lockDir(d.dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	return d, nil
}

func (s *Shelf) newPlace() string { return filepath.Join(s.o.Dir, draftPrefix+rand.Text()) }

// room tells whether that many bytes can be written.
func (s *Shelf) room(size int64) error {
	if s.o.Reserve < 0 {
		return nil
	}
	free, err := s.free()
	if err != nil || free-size >= s.o.Reserve {
		return err
	}
	return fmt.Errorf("%w: about %d MB are to be written, %d MB are free, and %d MB are to stay free",
		sandbox.ErrSpace, size>>20, free>>20, s.o.Reserve>>20)
}

func (s *Shelf) free() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.o.Dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// Explain adds to an error of writing the draft that there is no room, if that is so.
func (d *Draft) Explain(err error) error {
	const little = 16 << 20 // a writer gives up when its next piece does not fit
	free, ferr := d.s.free()
	if ferr != nil || free >= max(d.s.o.Reserve, little) {
		return err
	}
	return fmt.Errorf("%w: %d MB are free: %w", sandbox.ErrSpace, free>>20, err)
}

// Dir is where the files belong.
func (d *Draft) Dir() string { return d.dir }

// Commit puts the snapshot in its place, where another of its name may be, whole or not at all.
func (d *Draft) Commit(ctx context.Context, r Record) error {
	print, err := d.measure(ctx, &r)
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
	d.s.looks.saved(d.name, print)
	d.s.syncLater(d.name, r.Key)
	return nil
}

// measure notes what the files are, and returns their print.
func (d *Draft) measure(ctx context.Context, r *Record) (print string, err error) {
	if r.Files, err = sizes(d.dir); err != nil {
		return "", err
	}
	files, err := openFiles(d.dir, r.Files)
	if err != nil {
		return "", err
	}
	defer files.close()
	if print, err = files.print(); err != nil {
		return "", err
	}
	r.Sums, err = files.sums(ctx)
	return print, err
}

// swap puts dir into a place; what was there before takes dir's.
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

// Close removes what is left of the draft: all of it, if it was not put in its place, else what was
// there before.
func (d *Draft) Close() error {
	return errors.Join(os.RemoveAll(d.dir), d.lock.Close())
}
