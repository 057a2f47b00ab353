package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/agent"
	"cellhold/internal/sandbox"
)

// saved is a snapshot: the state of the agent, the state of its kernels, and its files. Restored kernels are new processes
// with new keys. A host cannot notice this, because the agent speaks for the kernels. Only idle kernels can be saved.
type saved struct {
	sandbox.Snapshot
	spec     sandbox.Spec
	agent    *agent.Saved
	memories map[cellhold.KernelID]memory
	dir      string
}

var (
	_ sandbox.SnapshotStore = (*Driver)(nil)
	_ sandbox.Marker        = (*owned)(nil)
)

// Snapshot saves the state of the agent and its kernels.
func (s *owned) Snapshot(_ context.Context, name string) error {
	if err := s.save(name); err != nil {
		return fmt.Errorf("snapshot %s of sandbox %s: %w", name, s.spec.ID, err)
	}
	return nil
}

func (s *owned) save(name string) error {
	if !validID.MatchString(name) {
		return fmt.Errorf("snapshot name %q must have 1 to 40 letters, digits or '-'", name)
	}
	if !s.alive() {
		return sandbox.ErrNotFound
	}
	w := s.driver.world
	one := &saved{spec: s.spec, memories: make(map[cellhold.KernelID]memory)}
	var err error
	one.agent, err = s.agent.Save(func(id cellhold.KernelID) { one.memories[id] = s.launcher.memory(id) })
	if err != nil {
		return err
	}
	if one.dir, err = os.MkdirTemp(w.sockets, "snapshot"); err != nil {
		return err
	}
	if err := copyFiles(one.dir, w.dir(s.spec.ID)); err != nil {
		return errors.Join(err, os.RemoveAll(one.dir))
	}
	const memory = 1 << 10 // about the size of the maps
	one.Snapshot = sandbox.Snapshot{Name: name, Created: time.Now(), Size: memory, Image: s.spec.Image, Labels: s.marks()}
	w.mu.Lock()
	former := w.snapshots[name]
	w.snapshots[name] = one
	w.mu.Unlock()
	return former.remove()
}

func (s *saved) remove() error {
	if s == nil {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// copyFiles copies a sandbox's files.
func copyFiles(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		place := filepath.Join(to, path[len(from):])
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return os.MkdirAll(place, info.Mode().Perm()|0o700)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, place)
		case !e.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(place, content, info.Mode().Perm())
	})
}

// origin returns the snapshot of s.From, if there is one. The caller must hold mu.
func (w *World) origin(s sandbox.Spec) (*saved, error) {
	if s.From == "" {
		return nil, nil
	}
	from := w.snapshots[s.From]
	if from == nil {
		return nil, fmt.Errorf("snapshot %s: %w: no snapshot has this name", s.From, sandbox.ErrSnapshot)
	}
	if from.Stale != "" {
		return nil, fmt.Errorf("snapshot %s: %w", s.From, &sandbox.SnapshotError{Reason: from.Stale})
	}
	if reason := s.Mismatch(from.spec); reason != "" {
		return nil, fmt.Errorf("snapshot %s: %w: %s", s.From, sandbox.ErrSnapshot, reason)
	}
	return from, nil
}

// settle waits until the agent serves. An agent restores its kernels before it serves.
func (b *box) settle(ctx context.Context) error {
	c, err := b.conns.dial(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

// SnapshotNames returns the names of all snapshots, sorted.
func (w *World) SnapshotNames() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.snapshots))
}

// Spoil makes a snapshot unusable, as damaged files would.
func (w *World) Spoil(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.snapshots[name]
	if s == nil {
		return fmt.Errorf("snapshot %s: %w", name, sandbox.ErrNotFound)
	}
	again := *s
	again.Stale = "it is damaged"
	w.snapshots[name] = &again
	return nil
}

// Snapshots lists all snapshots of the World, sorted by name.
func (d *Driver) Snapshots(context.Context) ([]sandbox.Snapshot, error) {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	all := []sandbox.Snapshot{}
	for _, s := range d.world.snapshots {
		all = append(all, s.Snapshot)
	}
	slices.SortFunc(all, func(a, b sandbox.Snapshot) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// RemoveSnapshot removes a snapshot.
func (d *Driver) RemoveSnapshot(_ context.Context, name string) error {
	d.world.mu.Lock()
	s := d.world.snapshots[name]
	delete(d.world.snapshots, name)
	d.world.mu.Unlock()
	return s.remove()
}

// Mark replaces the sandbox's labels.
func (s *owned) Mark(_ context.Context, labels map[string]string) error {
	if !s.alive() {
		return fmt.Errorf("mark sandbox %s: %w", s.spec.ID, sandbox.ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labels = maps.Clone(labels)
	return nil
}

func (b *box) marks() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.labels
}
