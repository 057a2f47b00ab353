// Package snapshots stores snapshots on disk. Even if the server is killed, a snapshot is either complete or does not exist.
//
// A snapshot is a directory with a record and the files that the driver saved. A new snapshot is written as a draft, which
// is a directory next to the snapshots. A rename makes the draft a snapshot. The package does not know gVisor: the reader
// of the record decides whether the content can be restored. The package never deletes a snapshot on its own, not even
// one that it cannot read.
//
// A snapshot is usable as soon as it has its name, and from then on it outlives the server. It outlives a crash of the
// host after its bytes have reached the disk; a goroutine syncs them later. Until then a reboot makes the snapshot stale,
// because half-written pages would be restored unnoticed.
//
// Locks: Store.mu guards the directories. A reader of a snapshot holds Store.mu shared, so that the snapshot is not
// replaced.
package snapshots

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
	// draftPrefix begins the names of drafts. A snapshot's name has no dot.
	draftPrefix = ".draft-"
	recordFile  = "record.json"
)

// Options configures a Store.
type Options struct {
	// Dir is the directory of the snapshots. It is required and absolute. Open creates it if it does not exist.
	Dir string
	// Reserve is the disk space in bytes that a snapshot must leave free. A negative value disables the check.
	Reserve int64
	// Boot identifies the current boot of the host.
	Boot string
	// SyncAfter is the delay before a snapshot is synced to the disk: many snapshots are removed within seconds.
	SyncAfter time.Duration
	// Failed is called when the sync fails. It can be nil.
	Failed func(name string, err error)
}

// Store is a directory of snapshots. All methods can be called from any goroutine.
type Store struct {
	o       Options
	closing chan struct{}
	once    sync.Once
	syncs   sync.WaitGroup
	checks  checks

	mu      sync.RWMutex
	waiting map[string]chan struct{} // snapshots that wait for their sync; closed to cancel it
}

// Open opens a directory of snapshots. It removes the drafts of processes that died.
func Open(o Options) (*Store, error) {
	s := &Store{o: o, closing: make(chan struct{}), waiting: map[string]chan struct{}{},
		checks: checks{of: map[string]*checkState{}}}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	// Only the owner can read the directory: snapshots contain the memory of sandboxes.
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

// Close waits until all snapshots are synced to the disk.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closing) })
	s.syncs.Wait()
	return nil
}

// removeAbandoned removes a draft unless its process is alive: that process holds a lock on it.
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

// List returns all snapshots, sorted by name. A snapshot with an unreadable record is included as stale.
func (s *Store) List() ([]Record, error) {
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

// Remove deletes a snapshot. An unknown name is not an error.
func (s *Store) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return nil // no snapshot has such a name
	}
	aside := s.newDraftDir() // Open removes it later if this process dies
	s.mu.Lock()
	err := os.Rename(filepath.Join(s.o.Dir, name), aside)
	s.forget(name)
	s.checks.forget(name)
	s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(aside))
}

// Image is a snapshot that is open for reading. It has nothing to do with the images of sandboxes.
type Image struct {
	Record
	Dir     string
	state   *checkState
	release func()
}

// Close closes the image. It can be called twice, and on a nil image.
func (i *Image) Close() {
	if i != nil {
		i.release()
	}
}

// Use opens a snapshot for reading. The snapshot does not change until Image.Close. Errors are sandbox.ErrSnapshot.
func (s *Store) Use(name string) (*Image, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", sandbox.ErrSnapshot, err)
	}
	s.mu.RLock()
	r, err := s.record(name)
	if err == nil && r.Fault != "" {
		s.mu.RUnlock()
		return nil, &sandbox.SnapshotError{Reason: r.Fault}
	}
	if err != nil {
		s.mu.RUnlock()
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("no snapshot has this name")
		}
		return nil, fmt.Errorf("%w: %w", sandbox.ErrSnapshot, err)
	}
	return &Image{Record: r, Dir: filepath.Join(s.o.Dir, name), state: s.checks.at(name), release: sync.OnceFunc(s.mu.RUnlock)}, nil
}

// CheckName refuses names that cannot be those of a snapshot's directory.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > 40 {
		return fmt.Errorf("snapshot name %q must have 1 to 40 characters", name)
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("snapshot name %q must contain only letters, digits and '-'", name)
		}
	}
	return nil
}
