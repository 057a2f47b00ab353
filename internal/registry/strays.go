package registry

import (
	"cmp"
	"context"
	"maps"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// destroyTimeout limits the destruction of one sandbox. With a fork bomb in the sandbox it took 4 s.
const destroyTimeout = 30 * time.Second

// The pause before the removal of a stray is tried again. It doubles with each try.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
)

// stray is a sandbox or a snapshot that no session needs, with the function that removes it.
type stray struct {
	id     sandbox.ID // empty for a snapshot
	remove func(context.Context) error
	tries  int       // how often the removal failed
	due    time.Time // time of the next try
}

// newStray returns a stray for cleanUp. Until it is removed, no new sandbox gets its id.
func (r *Registry) newStray(id sandbox.ID, remove func(context.Context) error) stray {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.condemned[id]++
	return stray{id: id, remove: remove}
}

// freeDriver is the driver of the sessions.
type freeDriver struct {
	sandbox.Driver
	r *Registry
}

// Create creates a sandbox. It takes the session's next id if a sandbox with the id is still being destroyed.
func (d freeDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	d.r.mu.Lock()
	for d.r.condemned[s.ID] > 0 {
		s.ID = sandbox.ID(record.NextSandboxID(cellhold.SessionID(s.Labels[session.Label]), string(s.ID)))
	}
	d.r.mu.Unlock()
	return d.Driver.Create(ctx, s)
}

// cleanUp removes a stray, even after ctx ended. If that fails, it retries later.
func (r *Registry) cleanUp(ctx context.Context, x stray) {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	err := x.remove(clean)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if r.condemned[x.id]--; r.condemned[x.id] == 0 {
			delete(r.condemned, x.id)
		}
		return
	}
	pause := min(firstRetry<<min(x.tries, 10), maxRetry)
	r.o.Logger.Error("destroying a sandbox", "sandbox", x.id, "err", err, "retry", pause)
	x.tries++
	x.due = time.Now().Add(pause)
	r.strays = append(r.strays, x)
	hooks{r}.Reschedule()
}

// retryStrays retries to remove the strays that are due. It returns the earliest time at which another one is due, or next
// if that is earlier.
func (r *Registry) retryStrays(ctx context.Context, q *queue, now, next time.Time) time.Time {
	r.mu.Lock()
	var due, later []stray
	for _, x := range r.strays {
		if x.due.After(now) {
			later = append(later, x)
		} else {
			due = append(due, x)
		}
	}
	r.strays = later
	r.mu.Unlock()
	for _, x := range due {
		q.add(func() { r.cleanUp(ctx, x) })
	}
	q.wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.strays {
		if x.due.Before(next) {
			next = x.due
		}
	}
	return next
}

// needed has the sandboxes and snapshots that sessions need.
type needed struct {
	sandboxes map[sandbox.ID]bool
	snapshots map[string]bool
}

func newNeeded() needed { return needed{map[sandbox.ID]bool{}, map[string]bool{}} }

func (n needed) add(rec record.Session) {
	if rec.State == cellhold.SessionEnded {
		return
	}
	if rec.State == cellhold.SessionReady {
		n.sandboxes[sandbox.ID(rec.Sandbox)] = true
	}
	n.snapshots[rec.Snapshot] = true
	for _, c := range rec.Checkpoints {
		n.snapshots[c.Snapshot] = true
	}
}

// reapAll removes the snapshots and sandboxes that no session needs, except those of the sessions that are spared or
// whose adoption is not done. known are the sessions at the start. The function do runs the removal of one sandbox.
func (r *Registry) reapAll(ctx context.Context, known []record.Session, do func(func())) error {
	n := newNeeded()
	r.mu.Lock()
	r.reaped = true
	omitted := maps.Clone(r.spared)
	for id := range r.adopting {
		omitted[id] = true
	}
	for _, s := range r.sessions {
		n.add(s.Record())
	}
	r.mu.Unlock()
	return r.reap(ctx, known, n, func(id cellhold.SessionID) bool { return !omitted[id] }, do)
}

// reapOne removes the snapshots and sandboxes of one session that it does not need. before is its record at the start. s is
// nil if the session is deleted.
func (r *Registry) reapOne(ctx context.Context, before record.Session, s *session.Session) {
	n := newNeeded()
	if s != nil {
		n.add(s.Record())
	}
	mine := func(of cellhold.SessionID) bool { return of == before.ID }
	err := r.reap(ctx, []record.Session{before}, n, mine, func(f func()) { f() })
	if err != nil && ctx.Err() == nil {
		r.o.Logger.Error("removing what a session does not need", "session", before.ID, "err", err)
	}
}

// reap removes snapshots and sandboxes that are not needed. The function mine chooses their sessions; a sandbox can have
// none. The function do runs the removal of one sandbox. known are records of the start: the driver lists no sandbox that
// lost its folder and its processes, but a control group of it can be left.
func (r *Registry) reap(ctx context.Context, known []record.Session, n needed, mine func(cellhold.SessionID) bool, do func(func())) error {
	if err := ctx.Err(); err != nil {
		return err // some sessions are not adopted yet and need their snapshots; the next server removes the strays
	}
	if err := r.env.Snapshots.Reap(ctx, n.snapshots, mine); err != nil {
		r.o.Logger.Error("removing snapshots that no session needs", "err", err)
	}
	infos, err := r.o.Driver.List(ctx)
	if err != nil {
		return err
	}
	owner := map[sandbox.ID]cellhold.SessionID{}
	for _, rec := range known {
		owner[sandbox.ID(rec.Sandbox)] = rec.ID
		if rec.State == cellhold.SessionReady || rec.State == cellhold.SessionStarting {
			infos = append(infos, sandbox.Info{ID: sandbox.ID(rec.Sandbox), Labels: map[string]string{session.Label: string(rec.ID)}})
		}
	}
	settled := maps.Clone(n.sandboxes) // sandboxes that have a session, or are destroyed
	settled[""] = true
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return err
		}
		of := cellhold.SessionID(info.Labels[session.Label])
		if of == "" { // the driver's own record of the sandbox is damaged
			of = cmp.Or(owner[info.ID], record.SessionOf(string(info.ID)))
		}
		if settled[info.ID] || !mine(of) {
			continue
		}
		settled[info.ID] = true
		r.o.Logger.Info("destroying a stray sandbox", "sandbox", info.ID)
		x := r.newStray(info.ID, func(ctx context.Context) error { return r.o.Driver.Remove(ctx, info.ID) })
		do(func() { r.cleanUp(ctx, x) })
	}
	return nil
}
