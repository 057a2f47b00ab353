// Package shelf keeps the saved states of sessions: what a hibernated session continues from, its
// checkpoints, and what forks start from.
//
// A saved state bears the name of its session, so that after a crash those that nobody needs are found
// and removed. The room refuses to touch those of others, such as templates, and to decide what a session
// needs.
package shelf

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

// Kind says what a saved state is for.
type Kind string

// The kinds of saved states, as they stand in their names.
const (
	Hibernation Kind = "h" // what a hibernated session continues from
	Checkpoint  Kind = "c" // a checkpoint
	Fork        Kind = "f" // what forks that are being made continue from
)

// ours matches the names that this room gives: the session, the kind, something random.
var ours = lazy.Regexp(`^(s[a-z2-7]{16})-([hcf])-[a-z2-7]{8}$`)

// Name returns a name for a saved state that no other one has.
func Name(id cellhold.SessionID, k Kind) string {
	return fmt.Sprintf("%s-%s-%s", id, k, strings.ToLower(rand.Text()[:8]))
}

// IsOfForks reports whether a saved state is what forks that are being made continue from: it was saved just
// now, and all of them do.
func IsOfForks(name string) bool {
	m := ours().FindStringSubmatch(name)
	return m != nil && Kind(m[2]) == Fork
}

// Why says why nothing can go on from a saved state, given the error that says so: the end of a sentence.
func Why(err error) string {
	if m, ok := errors.AsType[*sandbox.SnapshotError](err); ok {
		return m.Reason
	}
	return "it fits this server or host no more"
}

// Shelf is where a driver keeps the saved states of sessions. All methods may be called from any
// goroutine.
type Shelf struct {
	driver sandbox.SnapshotStore // nil when it keeps none
	most   int64
}

// New returns the shelf of a driver. All that is on it may take so many bytes.
func New(d sandbox.Driver, most int64) *Shelf {
	s := &Shelf{most: most}
	if d.Features().Snapshot {
		s.driver, _ = d.(sandbox.SnapshotStore)
	}
	return s
}

// Able returns nil if states can be saved here.
func (s *Shelf) Able() error {
	if s.driver == nil {
		return cellhold.Errorf(cellhold.Unsupported, "This server's sandboxes cannot be saved.")
	}
	return nil
}

// Stock is what there is of saved states.
type Stock struct {
	Count int
	Stale int   // of those, how many nothing can continue from any more
	Bytes int64 // that all of them take
}

// Stock says what there is.
func (s *Shelf) Stock(ctx context.Context) (Stock, error) {
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

// Room returns nil if that many bytes more may be kept.
func (s *Shelf) Room(ctx context.Context, more int64) error {
	have, err := s.Stock(ctx)
	if err != nil {
		return err
	}
	if have.Bytes+max(more, 0) > s.most {
		return cellhold.Errorf(cellhold.Exhausted,
			"The saved sessions of this server take %d MiB, and %d MiB are the most. End some, delete checkpoints, or raise --max-snapshots.", have.Bytes>>20, s.most>>20)
	}
	return nil
}

// Size returns the bytes of a saved state, 0 when there is none.
func (s *Shelf) Size(ctx context.Context, name string) int64 {
	list, err := s.list(ctx)
	if err != nil {
		return 0 // it is for people to know
	}
	for _, x := range list {
		if x.Name == name {
			return x.Size
		}
	}
	return 0
}

// Remove frees the space of a saved state. One that is gone, and no name, is no error.
func (s *Shelf) Remove(ctx context.Context, name string) error {
	if name == "" || s.driver == nil {
		return nil
	}
	return s.driver.RemoveSnapshot(ctx, name)
}

// Reap removes what a crash has left: the saved states of sessions that are not needed. Those of sessions
// that spared names stay.
func (s *Shelf) Reap(ctx context.Context, needed map[string]bool, spared map[cellhold.SessionID]bool) error {
	if s.driver == nil {
		return nil
	}
	list, err := s.list(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, x := range list {
		if id := ours().FindStringSubmatch(x.Name)[1]; !needed[x.Name] && !spared[cellhold.SessionID(id)] {
			errs = append(errs, s.driver.RemoveSnapshot(ctx, x.Name))
		}
	}
	return errors.Join(errs...)
}

// list returns the saved states of sessions.
func (s *Shelf) list(ctx context.Context) ([]sandbox.Snapshot, error) {
	if err := s.Able(); err != nil {
		return nil, err
	}
	all, err := s.driver.Snapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the saved states: %w", err)
	}
	var own []sandbox.Snapshot
	for _, x := range all {
		if ours().MatchString(x.Name) {
			own = append(own, x)
		}
	}
	return own, nil
}
