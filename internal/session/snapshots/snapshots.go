// Package snapshots stores the snapshots of sessions: of hibernated sessions, of checkpoints, and for new forks.
//
// The name of a snapshot has the id of its session. So the server finds and removes unneeded snapshots after a
// crash. The package does not touch other snapshots, such as those of templates. It does not decide what a
// session needs.
package snapshots

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"cellhold"
	"cellhold/internal/lazy"
	"cellhold/internal/sandbox"
)

// Kind is the purpose of a snapshot.
type Kind string

// The kinds of snapshots. They are part of the names.
const (
	Hibernation Kind = "h" // a hibernated session resumes from it
	Checkpoint  Kind = "c" // a checkpoint of a session
	Fork        Kind = "f" // new forks continue from it
)

// ours matches the names of this package: the session, the kind, a random part.
var ours = lazy.Regexp(`^(s[a-z2-7]{16})-([hcf])-[a-z2-7]{8}$`)

// Name returns a unique name for a snapshot.
func Name(id cellhold.SessionID, k Kind) string {
	return fmt.Sprintf("%s-%s-%s", id, k, strings.ToLower(rand.Text()[:8]))
}

// IsOfForks reports whether a snapshot is for new forks: it was just made, and several sessions continue from
// it.
func IsOfForks(name string) bool {
	m := ours().FindStringSubmatch(name)
	return m != nil && Kind(m[2]) == Fork
}

// Why returns the reason why a snapshot cannot be restored, from the driver's error. The text ends a
// sentence.
func Why(err error) string {
	if m, ok := errors.AsType[*sandbox.SnapshotError](err); ok {
		return m.Reason
	}
	return "it does not fit this server or host"
}

// Store has the snapshots of sessions in a driver. Its methods can be called from any goroutine.
type Store struct {
	driver sandbox.SnapshotStore // nil if the driver stores none
	most   int64
}

// New returns the store of a driver. most is the maximum size of all snapshots in bytes.
func New(d sandbox.Driver, most int64) *Store {
	s := &Store{most: most}
	if d.Features().Snapshot {
		s.driver, _ = d.(sandbox.SnapshotStore)
	}
	return s
}

// CheckSupport returns nil if snapshots can be made.
func (s *Store) CheckSupport() error {
	if s.driver == nil {
		return cellhold.Errorf(cellhold.Unsupported, "Sessions cannot be saved: this server's driver does not support it.")
	}
	return nil
}

// Stock has the number and the size of the snapshots of sessions.
type Stock struct {
	Count int
	Stale int   // number of snapshots that can no longer be restored
	Bytes int64 // size of all snapshots in bytes
}

// Stock counts the snapshots.
func (s *Store) Stock(ctx context.Context) (Stock, error) {
	list, err := s.list(ctx)
	have := Stock{Count: len(list)}
	for _, x := range list {
		have.Bytes += x.Size
		if x.Stale != "" {
			have.Stale++
		}
	}
	return have, err
}

// CheckSpace returns nil if a new snapshot fits below the limit. The parameter more is its size in bytes.
func (s *Store) CheckSpace(ctx context.Context, more int64) error {
	have, err := s.Stock(ctx)
	if err != nil {
		return err
	}
	if have.Bytes+max(more, 0) > s.most {
		return cellhold.Errorf(cellhold.Exhausted,
			"The snapshots of this server need %d MiB; the limit is %d MiB. End sessions, delete checkpoints, or raise --max-snapshots.", have.Bytes>>20, s.most>>20)
	}
	return nil
}

// Size returns the size of a snapshot in bytes, or 0 if there is none.
func (s *Store) Size(ctx context.Context, name string) int64 {
	list, err := s.list(ctx)
	if err != nil {
		return 0 // the size is only for information
	}
	for _, x := range list {
		if x.Name == name {
			return x.Size
		}
	}
	return 0
}

// Remove deletes a snapshot. A missing snapshot and an empty name are not errors.
func (s *Store) Remove(ctx context.Context, name string) error {
	if name == "" || s.driver == nil {
		return nil
	}
	return s.driver.RemoveSnapshot(ctx, name)
}

// Reap deletes the snapshots that a crash left behind. It keeps the needed ones, and those of sessions for
// which mine returns false.
func (s *Store) Reap(ctx context.Context, needed map[string]bool, mine func(cellhold.SessionID) bool) error {
	if s.driver == nil {
		return nil
	}
	list, err := s.list(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, x := range list {
		if id := ours().FindStringSubmatch(x.Name)[1]; !needed[x.Name] && mine(cellhold.SessionID(id)) {
			errs = append(errs, s.driver.RemoveSnapshot(ctx, x.Name))
		}
	}
	return errors.Join(errs...)
}

// list returns the snapshots of sessions.
func (s *Store) list(ctx context.Context) ([]sandbox.Snapshot, error) {
	if err := s.CheckSupport(); err != nil {
		return nil, err
	}
	all, err := s.driver.Snapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the snapshots: %w", err)
	}
	var own []sandbox.Snapshot
	for _, x := range all {
		if ours().MatchString(x.Name) {
			own = append(own, x)
		}
	}
	return own, nil
}
