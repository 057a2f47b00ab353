package session

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/paths"
	"cellhold/internal/session/refold"
	"cellhold/internal/session/snapshots"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
)

// MaxForks is the maximum number of forks in one call.
const MaxForks = 16

// forkAtOnce is the number of forks that start at the same time. Each start uses most of a core.
const forkAtOnce = 4

// Fork creates sessions that continue from the session's memory and files, as they are now or at a checkpoint.
// If one fork fails, none is created. The session itself continues, or stays hibernated. base ends the goroutines of
// the forks. The caller must have checked the terms t, and reserved the slots of the forks.
func (s *Session) Fork(ctx, base context.Context, t terms.Fork) ([]*Session, error) {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.Release() // until then no other call can delete the snapshot that the forks need
	if err := turn.Begin(states.Fork); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(detach(ctx), s.env.StartTimeout, errStartTimeout)
	defer cancel()
	f := forking{parent: s, base: base, terms: t}
	drop, err := f.save(ctx, turn, t.Checkpoint)
	if err != nil {
		return nil, err
	}
	defer drop()
	made := make([]*Session, t.Count)
	var g errgroup.Group
	g.SetLimit(forkAtOnce)
	for i := range made {
		g.Go(func() (err error) {
			made[i], err = f.make(ctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		clean, cancel := cleanup(ctx)
		defer cancel()
		for _, child := range made {
			if child != nil {
				err = errors.Join(err, child.End(clean))
			}
		}
		return nil, f.error(ctx, err)
	}
	s.slog.Info("session forked", "count", t.Count)
	return made, nil
}

// forking is the creation of forks of one session.
type forking struct {
	parent *Session
	base   context.Context   // context of the forks' goroutines
	terms  terms.Fork        // of each fork
	from   record.Checkpoint // the snapshot of the forks
}

// error returns the caller's error for a failed fork.
func (f *forking) error(ctx context.Context, err error) error {
	f.parent.slog.Error("forking a session", "err", err)
	switch {
	case errors.Is(err, sandbox.ErrSnapshot):
		return cellhold.Wrap(cellhold.Conflict, err, "The session cannot be forked: its snapshot cannot be restored (%s).", snapshots.Why(err))
	case errors.Is(context.Cause(ctx), errStartTimeout):
		return cellhold.Wrap(cellhold.Unavailable, err, "The forks did not start within %s. The host can be overloaded: request fewer forks.", f.parent.env.StartTimeout)
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The fork failed. The session continues unchanged. The server's log has the reason.")
}

// save sets the state from which the forks continue: a checkpoint, the snapshot of a hibernated session, or a new
// snapshot. drop removes a new snapshot.
func (f *forking) save(ctx context.Context, turn *states.Turn, name string) (drop func(), err error) {
	s := f.parent
	rec := s.Record()
	switch {
	case name != "":
		f.from, err = rec.FindCheckpoint(name)
		return func() {}, err
	case turn.Settled() == states.Hibernated:
		f.from = s.sandboxes.present()
		f.from.Snapshot = rec.Snapshot
		return func() {}, nil
	}
	f.from, err = s.sandboxes.saveNow(ctx, turn, snapshots.Fork)
	return func() { s.env.Registry.DropSnapshot(ctx, f.from.Snapshot) }, err
}

// make makes one fork. After an error it leaves nothing behind.
func (f *forking) make(ctx context.Context) (*Session, error) {
	env, rec := f.parent.env, f.record()
	if err := env.Store.PutSession(ctx, rec); err != nil {
		return nil, notRecorded(err)
	}
	child, err := f.start(ctx, rec)
	if err != nil {
		return nil, errors.Join(env.abandon(ctx, rec, err), env.removeOutput(rec))
	}
	return child, nil
}

// record returns the record of a fork.
func (f *forking) record() record.Session {
	rec, now, c := f.parent.Record(), time.Now().UTC(), f.from
	f.terms.Apply(&rec, now)
	rec.ID, rec.Parent = cellhold.NewSessionID(), f.parent.id
	rec.State, rec.Created, rec.Used = cellhold.SessionStarting, now, now
	rec.Sandbox = record.SandboxID(rec.ID, 0)
	rec.Article, rec.Once = false, false // a user has only one session of the article's API, and the fork is no run
	rec.Snapshot, rec.Boot, rec.Checkpoint, rec.Checkpoints = "", "", "", nil
	rec.Kernels, rec.Packages, rec.Undone = slices.Clone(c.Kernels), c.Packages, c.Undone
	return rec
}

// start gives a recorded fork its history and its sandbox, and adds it to the registry.
func (f *forking) start(ctx context.Context, rec record.Session) (*Session, error) {
	env, c := f.parent.env, f.from
	if err := env.Store.Copy(ctx, f.parent.id, rec.ID, c.Last, c.Created); err != nil {
		return nil, err
	}
	log, err := kernel.NewLog(ctx, rec.ID, env.Store)
	if err != nil {
		return nil, err
	}
	child := newSession(env, rec, log)
	child.tally.Inherit(&f.parent.tally) // otherwise the code in each fork could make as many package requests again
	if err := refold.Cells(ctx, env.Store, rec.ID, c.Last, c.Undone); err != nil {
		log.Close(err)
		return nil, err
	}
	child.run(f.base)
	if err := f.begin(ctx, child); err != nil {
		child.sandboxes.destroy(ctx)
		child.stop(nil)
		return nil, err
	}
	child.use()
	child.notes.Changed()
	env.Registry.Reschedule()
	return child, nil
}

// begin restores the sandbox of a fork, makes the fork ready and adds it to the registry.
func (f *forking) begin(ctx context.Context, child *Session) error {
	turn, err := child.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	if err := turn.Begin(states.Start); err != nil {
		return err
	}
	rec := child.Record()
	l, err := child.sandboxes.restore(ctx, rec, f.from.Snapshot, attachment.Request{Kernels: rec.Kernels, Before: f.parent.sandboxes.following(), Renew: true})
	if err != nil {
		return err
	}
	ev := record.NewEvent(cellhold.EventSessionForked, "", "", cellhold.SessionForkedContent{Parent: rec.Parent})
	if err := child.sandboxes.commit(ctx, l, ev, func(r *record.Session, _ int64) { terms.MakeReady(r, string(l.Sandbox().ID())) }); err != nil {
		return err
	}
	child.sandboxes.attach(l)
	turn.Commit()
	if rec.User == "" { // the fork's folder on the host is its own, and still empty
		err = child.mirror.Pull(ctx, l.Client())
	} else {
		err = child.mirror.Recognise(ctx, l.Client())
	}
	if err != nil {
		child.slog.Warn("mirroring output files", "err", err)
	}
	child.sandboxes.filesKnown = true
	if err := l.Followers().WaitIdle(ctx); err != nil {
		return err
	}
	return child.env.Registry.Add(child)
}

// DeleteUnfinished deletes what an earlier server recorded of a fork that it did not complete, or of a run. No caller
// knows the session, and its history can be incomplete. Its sandbox is a stray.
func DeleteUnfinished(ctx context.Context, env *Environment, rec record.Session) error {
	env.Logger.Info("deleting an unfinished session", "session", rec.ID, "parent", rec.Parent, "once", rec.Once)
	return errors.Join(env.Store.DeleteSession(ctx, rec.ID), ignoreMissing(os.Remove(paths.Notebook(env.Notebooks, rec))), env.removeOutput(rec))
}
