package snapshots

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// syncLater syncs a snapshot to the disk after a delay, or when the store is closed. The caller must hold mu.
func (s *Store) syncLater(name, key string) {
	s.forget(name)
	removed := make(chan struct{})
	s.waiting[name] = removed
	s.syncs.Go(func() {
		timer := time.NewTimer(s.o.SyncAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closing:
		case <-removed:
			return
		}
		err := s.sync(name, key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && s.o.Failed != nil {
			s.o.Failed(name, err)
		}
	})
}

// forget cancels the sync of a removed snapshot. The caller must hold mu.
func (s *Store) forget(name string) {
	if removed, ok := s.waiting[name]; ok {
		close(removed)
		delete(s.waiting, name)
	}
}

// sync syncs the snapshot with this key to the disk, and then sets Synced in its record. It does nothing if the snapshot
// was removed or replaced.
func (s *Store) sync(name, key string) error {
	dir := filepath.Join(s.o.Dir, name)
	r, err := s.record(name)
	if err != nil || r.Key != key {
		return err
	}
	for file := range r.Files {
		if err := syncFile(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	if err := errors.Join(syncFile(dir), syncFile(s.o.Dir)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, err = s.record(name); err != nil || r.Key != key {
		return err
	}
	r.Synced = true
	if err := r.save(dir); err != nil {
		return err
	}
	return syncFile(dir)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
