package session

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/shelf"
)

const (
	// maxForks bounds the sessions that one call makes.
	maxForks = 16
	// forkAtOnce bounds those that are being made at a time: each start takes most of a core.
	forkAtOnce = 4
)

// Fork makes n sessions that go on from this one's memory and files as they are now, or as they were at a
// checkpoint if one is named. Either all are made or none. The session itself goes on, or sleeps on.
func (s *Session) Fork(ctx context.Context, n int, name string) ([]*Session, error) {
	if n < 1 || n > maxForks {
		return nil, cellhold.Errorf(cellhold.Invalid, "1 to %d forks can be made at once, not %d.", maxForks, n)
	}
	if err := s.m.shelf.Able(); err != nil {
		return nil, err
	}
	base, free, err := s.m.reserve(s.owner, n)
	if err != nil {
		return nil, err
	}
	defer free()
	release, err := s.hold(ctx) // until all are made: what they go on from stays
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.m.o.StartTimeout, errStartTimeout)
	defer cancel()
	c, drop, err := s.forkFrom(ctx, name)
	if err != nil {
		return nil, err
	}
	defer drop()
	made := make([]*Session, n)
	var g errgroup.Group
	g.SetLimit(forkAtOnce)
	for i := range made {
		g.Go(func() (err error) {
			made[i], err = s.fork(ctx, base, c)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		clean, cancel := cleanup(ctx)
		defer cancel()
		for _, f := range made {
			if f != nil {
				err = errors.Join(err, f.End(clean))
			}
		}
		return nil, s.forkError(ctx, err)
	}
	s.slog.Info("session forked", "count", n)
	return made, nil
}

func (s *Session) forkError(ctx context.Context, err error) error {
	s.slog.Error("forking a session", "err", err)
	switch {
	case errors.Is(err, sandbox.ErrSnapshot):
		return cellhold.Wrap(cellhold.Conflict, err, "Nothing can go on from what was saved of the session: %s.", shelf.Why(err))
	case errors.Is(context.Cause(ctx), errStartTimeout):
		return cellhold.Wrap(cellhold.Unavailable, err, "The forks did not start within %s. The host may be overloaded; try fewer.", s.m.o.StartTimeout)
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be forked, and goes on as it is. The server's log says why.")
}

// forkFrom returns what forks go on from: a checkpoint, what a hibernated session is to go on from itself,
// or what is saved now, which drop removes.
func (s *Session) forkFrom(ctx context.Context, name string) (c cellhold.Checkpoint, drop func(), err error) {
	rec := s.record()
	switch {
	case rec.State != cellhold.SessionReady && rec.State != cellhold.SessionHibernated:
		return c, nil, cellhold.Errorf(cellhold.Conflict, "The session is %s.", rec.State)
	case name != "":
		c, err = s.checkpoint(name)
		return c, func() {}, err
	case rec.State == cellhold.SessionHibernated:
		c = s.moment()
		c.Snapshot = rec.Snapshot
		return c, func() {}, nil
	}
	c, err = s.saveNow(ctx, shelf.Fork)
	return c, func() { s.m.dropSnapshot(ctx, c.Snapshot) }, err
}

// fork makes one session that goes on from there. When it fails, nothing is left.
func (s *Session) fork(ctx, base context.Context, c cellhold.Checkpoint) (*Session, error) {
	rec := s.childRecord(c)
	if err := s.m.o.Store.PutSession(ctx, rec); err != nil {
		return nil, cellhold.Wrap(cellhold.Unavailable, err, "The session could not be recorded. Is the server's disk full?")
	}
	f, err := s.bear(ctx, base, rec, c)
	if err != nil {
		err = s.m.abandon(ctx, rec, err)
		if rec.User == "" {
			err = errors.Join(err, os.RemoveAll(s.m.o.outputDir(rec)))
		}
		return nil, err
	}
	return f, nil
}

// unmake deletes what is recorded of a fork that a dead server was making. Nobody knows of it, and its history
// may be half of its parent's. Its sandbox is a stray.
func (m *Manager) unmake(ctx context.Context, rec cellhold.Session) error {
	m.o.Logger.Info("deleting a fork that was not made to its end", "session", rec.ID, "parent", rec.Parent)
	err := m.o.Store.DeleteSession(ctx, rec.ID)
	if rec.User == "" {
		err = errors.Join(err, os.RemoveAll(m.o.outputDir(rec)))
	}
	return err
}

// childRecord is the record of a fork.
func (s *Session) childRecord(c cellhold.Checkpoint) cellhold.Session {
	rec, now := s.record(), time.Now().UTC()
	rec.ID, rec.Parent = cellhold.NewSessionID(), s.id
	rec.State, rec.Created, rec.Used = cellhold.SessionStarting, now, now
	rec.Sandbox = sandboxID(rec.ID, 0)
	rec.Article = false // there is one for each user
	rec.Snapshot, rec.Boot, rec.Checkpoint, rec.Checkpoints = "", "", "", nil
	rec.Kernels, rec.Packages, rec.Undone = slices.Clone(c.Kernels), c.Packages, c.Undone
	return rec
}

// bear gives a fork that is recorded its history and its sandbox, and makes it known.
func (s *Session) bear(ctx, base context.Context, rec cellhold.Session, c cellhold.Checkpoint) (*Session, error) {
	if err := s.m.o.Store.Copy(ctx, s.id, rec.ID, c.Last, c.Created); err != nil {
		return nil, err
	}
	log, err := kernel.NewLog(ctx, rec.ID, s.m.o.Store)
	if err != nil {
		return nil, err
	}
	f := newSession(s.m, rec, log)
	f.tally.Inherit(&s.tally) // or forks of forks would have new bounds without end
	if err := f.refold(ctx, c.Last, c.Undone); err != nil {
		log.Close(err)
		return nil, err
	}
	f.run(base)
	err = f.begin(ctx, c, s.followed())
	if err == nil && !s.m.addReady(f) {
		err = s.m.Ready()
	}
	if err != nil {
		f.close(ctx)
		f.stop(nil)
		return nil, err
	}
	f.touch()
	s.m.nudge()
	return f, nil
}

// begin is the start of a fork's own life. before are those who follow the kernels of its parent.
func (s *Session) begin(ctx context.Context, c cellhold.Checkpoint, before map[cellhold.KernelID]*kernel.Kernel) error {
	rec := s.record()
	p, err := s.goOn(ctx, rec, c.Snapshot, arrival{kernels: rec.Kernels, before: before, renew: true})
	if err != nil {
		return err
	}
	ev := cellhold.NewEvent(cellhold.EventSessionForked, "", "", cellhold.SessionForkedContent{Parent: rec.Parent})
	if err := s.turn(ctx, ev, func(r *cellhold.Session, _ int64) { ready(r, p.sandbox.ID()) }); err != nil {
		p.quit()
		s.m.destroy(ctx, p.sandbox)
		return err
	}
	s.seatAll(p)
	if rec.User == "" { // a folder of its own
		err = s.mirror.Pull(ctx, p.client)
	} else {
		err = s.mirror.Recognise(ctx, p.client)
	}
	if err != nil {
		s.slog.Warn("mirroring output files", "err", err)
	}
	s.recognised = true
	return s.settled(ctx)
}
