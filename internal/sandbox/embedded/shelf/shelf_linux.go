// Package shelf keeps snapshots on disk, each whole or not there at all, wherever the server is killed.
//
// A snapshot is a directory with a record and the files of its image. It is written as a draft beside
// the others and takes its place in one step. The package knows no gVisor: what is in the files, and
// whether it fits, is decided by who reads the record. It never deletes a snapshot that it was not told
// to, not even one that it cannot read.
//
// A snapshot is good as soon as it is in its place, and outlives the server from then on. It outlives a
// failure of the host once its bytes have reached the disk, which is seen to in the background; until
// then a start of the host makes it stale, because half-written pages would be restored as they are.
//
// Locks: Shelf.mu guards the places. Whoever reads an image holds it shared, so that nothing is put in
// the place of what is being read.
package shelf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

const (
	// draftPrefix begins the names of directories that are no snapshots: no snapshot's name has a dot.
	draftPrefix = ".draft-"
	recordFile  = "record.json"
)

// Options configures a Shelf.
type Options struct {
	// Dir is where the snapshots are. Required, absolute. It is made if it is not there.
	Dir string
	// Reserve is how many bytes of disk space a snapshot leaves free. Less than zero means that
	// nothing is asked before.
	Reserve int64
	// Boot names the present run of the host.
	Boot string
	// SyncAfter is how long to wait before a snapshot's bytes are driven to the disk: many are removed
	// again within seconds.
	SyncAfter time.Duration
	// Failed is told when that does not succeed. May be nil.
	Failed func(name string, err error)
}

// Shelf is a directory of snapshots. All methods may be called from any goroutine.
type Shelf struct {
	o       Options
	closing chan struct{}
	once    sync.Once
	syncs   sync.WaitGroup
	looks   looks

	mu      sync.RWMutex
	waiting map[string]chan struct{} // snapshots that wait to be driven to the disk; closed when they need not
}

// Open returns the shelf at a directory, and removes what is left there of drafts whose makers died.
func Open(o Options) (*Shelf, error) {
	s := &Shelf{o: o, closing: make(chan struct{}), waiting: map[string]chan struct{}{},
		looks: looks{of: map[string]*look{}}}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	// The images hold what was in the memory of sandboxes.
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), draftPrefix) {
			err = errors.Join(err, removeAbandoned(filepath.Join(o.Dir, e.Name())))
			continue
		}
		if r, err := s.record(e.Name()); err == nil && !r.Synced && r.Boot == o.Boot {
			s.syncLater(e.Name(), r.Key)
		}
	}
	return s, err
}

// Close waits until the bytes of all snapshots that were made are on the disk.
func (s *Shelf) Close() error {
	s.once.Do(func() { close(s.closing) })
	s.syncs.Wait()
	return nil
}

// removeAbandoned removes a draft unless its maker is alive, which holds a lock on it.
func removeAbandoned(dir string) error {
	f, err := lockDir(dir)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return os.RemoveAll(dir)
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// List returns all snapshots, sorted by name. One whose record cannot be read is among them, and stale.
func (s *Shelf) List() ([]Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return nil, err
	}
	var all []Record
	for _, e := range entries {
		if CheckName(e.Name()) != nil || !e.IsDir() {
			continue
		}
		r, err := s.record(e.Name())
		if err != nil {
			r = Record{Name: e.Name(), Fault: err.Error()}
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Remove frees a snapshot's space. An unknown name is no error.
func (s *Shelf) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return nil // nothing can be there
	}
	aside := s.newPlace()
	s.mu.Lock()
	err := os.Rename(filepath.Join(s.o.Dir, name), aside)
	s.forget(name)
	s.looks.forget(name)
	s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(aside))
}

// Image is a snapshot that is being read.
type Image struct {
	Record
	Dir     string
	look    *look
	release func()
}

// Close ends the reading. It may be called twice, and of none.
func (i *Image) Close() {
	if i != nil {
		i.release()
	}
}

// Use opens a snapshot for reading. It stays as it is until Close. Errors are sandbox.ErrSnapshot.
func (s *Shelf) Use(name string) (*Image, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", sandbox.ErrSnapshot, err)
	}
	s.mu.RLock()
	r, err := s.record(name)
	if err == nil && r.Fault != "" {
		s.mu.RUnlock()
		return nil, &sandbox.Misfit{Why: r.Fault}
	}
	if err != nil {
		s.mu.RUnlock()
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is none of that name")
		}
		return nil, fmt.Errorf("%w: %w", sandbox.ErrSnapshot, err)
	}
	return &Image{Record: r, Dir: filepath.Join(s.o.Dir, name), look: s.looks.at(name), release: sync.OnceFunc(s.mu.RUnlock)}, nil
}

// CheckName refuses names that are no good as one of a directory.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > 40 {
		return fmt.Errorf("name %q of a snapshot is not 1 to 40 characters long", name)
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("name %q of a snapshot has characters other than letters, digits and '-'", name)
		}
	}
	return nil
}
