package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/lazy"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/shelf"
)

// Defaults of what sessions may save: a checkpoint takes about as much disk as its session takes memory.
const (
	defaultMaxCheckpoints = 8
	defaultMaxSnapshots   = 32 << 30
)

// checkpointPattern is what a checkpoint may be called: it stands in paths of the API.
var checkpointPattern = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Checkpoints lists the session's checkpoints, the oldest first.
func (s *Session) Checkpoints() []cellhold.Checkpoint { return slices.Clone(s.record().Checkpoints) }

// Checkpoint saves the session as it is now under a name. It goes on; what runs is a Conflict.
func (s *Session) Checkpoint(ctx context.Context, name string) (cellhold.Checkpoint, error) {
	if !checkpointPattern().MatchString(name) {
		return cellhold.Checkpoint{}, cellhold.Errorf(cellhold.Invalid, "The name of a checkpoint is 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit.")
	}
	if err := s.m.shelf.Able(); err != nil {
		return cellhold.Checkpoint{}, err
	}
	release, err := s.awake(ctx)
	if err != nil {
		return cellhold.Checkpoint{}, err
	}
	defer release()
	rec := s.record()
	if _, err := s.checkpoint(name); err == nil {
		return cellhold.Checkpoint{}, cellhold.Errorf(cellhold.Conflict, "The session has a checkpoint %q already. Delete it first, or take another name.", name)
	}
	if len(rec.Checkpoints) >= s.m.o.MaxCheckpoints {
		return cellhold.Checkpoint{}, cellhold.Errorf(cellhold.Exhausted, "The session has %d checkpoints, which is the most. Delete one first.", len(rec.Checkpoints))
	}
	c, err := s.saveNow(ctx, shelf.Checkpoint)
	if err != nil {
		return cellhold.Checkpoint{}, err
	}
	c.Name, c.Size = name, s.m.shelf.Size(ctx, c.Snapshot)
	rec = s.change(func(r *cellhold.Session) { r.Checkpoints = append(slices.Clone(r.Checkpoints), c) })
	if err := s.m.o.Store.PutSession(ctx, rec); err != nil {
		s.change(func(r *cellhold.Session) { r.Checkpoints = without(r.Checkpoints, name) })
		s.m.dropSnapshot(ctx, c.Snapshot)
		return cellhold.Checkpoint{}, cellhold.Wrap(cellhold.Unavailable, err, "The checkpoint could not be recorded. Is the server's disk full?")
	}
	s.slog.Info("checkpoint made", "bytes", c.Size)
	return c, nil
}

// saveNow saves the sandbox, which goes on, and says what the session is at that moment. The caller holds
// the life of a session that is awake.
func (s *Session) saveNow(ctx context.Context, k shelf.Kind) (cellhold.Checkpoint, error) {
	p, stir, err := s.quieten()
	if err != nil {
		return cellhold.Checkpoint{}, err
	}
	defer stir()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	s.use()
	c := s.moment()
	c.Snapshot = shelf.Name(s.id, k)
	return c, s.save(ctx, p, c.Snapshot, false)
}

// moment is what the session is now, without its sandbox.
func (s *Session) moment() cellhold.Checkpoint {
	rec := s.record()
	return cellhold.Checkpoint{Created: time.Now().UTC(), Last: s.log.Last(), Kernels: rec.Kernels, Packages: rec.Packages, Undone: rec.Undone}
}

// checkpoint returns the checkpoint of that name.
func (s *Session) checkpoint(name string) (cellhold.Checkpoint, error) {
	for _, c := range s.record().Checkpoints {
		if c.Name == name {
			return c, nil
		}
	}
	return cellhold.Checkpoint{}, cellhold.Errorf(cellhold.NotFound, "The session has no checkpoint %.64q.", name)
}

func without(list []cellhold.Checkpoint, name string) []cellhold.Checkpoint {
	return slices.DeleteFunc(slices.Clone(list), func(c cellhold.Checkpoint) bool { return c.Name == name })
}

// DeleteCheckpoint deletes a checkpoint. It does not wake the session.
func (s *Session) DeleteCheckpoint(ctx context.Context, name string) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	c, err := s.checkpoint(name)
	if err != nil {
		return err
	}
	rec := s.record()
	rec.Checkpoints = without(rec.Checkpoints, name)
	if err := s.m.o.Store.PutSession(ctx, rec); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The end of the checkpoint could not be recorded. Is the server's disk full?")
	}
	s.change(func(r *cellhold.Session) { r.Checkpoints = rec.Checkpoints })
	s.m.dropSnapshot(ctx, c.Snapshot)
	return nil
}

// Rollback makes memory and files what they were at a checkpoint. What runs is a Conflict. Cells that were
// submitted since stay to be read, and leave the notebook.
func (s *Session) Rollback(ctx context.Context, name string) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	c, err := s.checkpoint(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.m.o.StartTimeout, errStartTimeout)
	defer cancel()
	rec := s.record()
	switch rec.State {
	case cellhold.SessionReady:
	case cellhold.SessionHibernated: // what sleeps need not wake for it
		free, err := s.m.reserveAwake()
		if err != nil {
			return err
		}
		defer free()
	default:
		return cellhold.Errorf(cellhold.Conflict, "The session is %s.", rec.State)
	}
	if s.client() == nil { // it sleeps, or its sandbox has ended
		return s.rollBack(ctx, rec, c, nil)
	}
	p, stir, err := s.quieten()
	if err != nil {
		return err
	}
	defer stir()
	if err := p.sandbox.Pause(ctx); err != nil { // nothing more happens in what is about to be undone
		return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be stopped for the rollback, and goes on as it is.")
	}
	if err := s.rollBack(ctx, rec, c, p); err != nil {
		clean, cancel := cleanup(ctx)
		defer cancel()
		return errors.Join(err, p.sandbox.Resume(clean))
	}
	return nil
}

// rollBack replaces the session's sandbox, if it has one, by one that goes on from a checkpoint. The new
// one comes first: until the record names it, a failure or a death of the server leaves the session as it
// was.
func (s *Session) rollBack(ctx context.Context, rec cellhold.Session, c cellhold.Checkpoint, old *place) error {
	p, err := s.goOn(ctx, rec, c.Snapshot, arrival{kernels: c.Kernels, before: s.followed(), renew: true})
	if err != nil {
		s.slog.Error("rolling back", "checkpoint", c.Name, "err", err)
		if errors.Is(err, sandbox.ErrSnapshot) {
			return cellhold.Wrap(cellhold.Conflict, err, "Nothing can go on from the checkpoint %q: %s. The session stays as it is. Delete the checkpoint.", c.Name, shelf.Why(err))
		}
		return cellhold.Wrap(cellhold.Unavailable, err, "The checkpoint could not be continued from; the session stays as it is. Try again.")
	}
	ev := cellhold.NewEvent(cellhold.EventSessionRolledBack, "", "", cellhold.SessionRolledBackContent{Checkpoint: c.Name, Last: c.Last})
	now := time.Now().UTC()
	err = s.turn(ctx, ev, func(r *cellhold.Session, seq int64) {
		ready(r, p.sandbox.ID())
		r.Checkpoint, r.Kernels, r.Packages = c.Name, c.Kernels, c.Packages
		r.Undone = append(slices.Clone(c.Undone), cellhold.Undone{After: c.Last, Last: seq, Since: c.Created, Until: now})
	})
	if err != nil {
		p.quit()
		s.m.destroy(ctx, p.sandbox)
		return err
	}
	if sb := s.detach(); sb != nil {
		s.m.destroy(ctx, sb)
	}
	if err := s.refold(ctx, c.Last, c.Undone); err != nil { // the output is in the events all the same
		s.slog.Error("taking back output that came after the end of its cell", "err", err)
	}
	s.seatAll(p)
	s.m.dropSnapshot(ctx, rec.Snapshot)
	s.displays.Forget()
	s.touch()
	s.m.nudge()
	if err := s.mirror.Restore(ctx, p.client, rec.User == ""); err != nil {
		s.slog.Warn("mirroring output files", "err", err)
	}
	s.recognised = true
	s.slog.Info("session rolled back", "sandbox", p.sandbox.ID())
	return s.settled(ctx)
}

// settled waits until the kernels have said how they are. That one is dead is no error: it was.
func (s *Session) settled(ctx context.Context) error {
	for _, k := range s.all() {
		if err := k.WaitIdle(ctx); err != nil && ctx.Err() != nil {
			return cellhold.Wrap(cellhold.Unavailable, err, "The kernels did not answer in time.")
		}
	}
	return nil
}
