package registry

import (
	"context"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/session"
)

// adopting is a session whose adoption is not done.
type adopting struct {
	rec  record.Session
	done chan struct{} // closed when the registry has the session, or cannot have it
}

// adopt adopts the recorded sessions, and destroys the sandboxes and snapshots that no session needs. ctx is also the
// context of the sessions' goroutines. A sandbox that does not answer, or does not end, delays adopt only by patience.
// Its session is then adopted or ended while the server serves the others.
func (r *Registry) adopt(ctx context.Context) error {
	known, err := r.expect(ctx)
	if err != nil {
		return err
	}
	q := newQueue(&r.beside, maxConcurrent, patience)
	for _, rec := range known {
		q.add(func() { r.adoptOne(ctx, rec) })
	}
	q.wait()
	err = r.reapAll(ctx, known, q.add)
	q.wait()
	return err
}

// expect returns the recorded sessions, which are then in r.adopting. It skips a damaged record, so that the server can
// adopt the other sessions. The sandbox and the snapshots of a skipped session are kept, so that the operator can examine
// them.
func (r *Registry) expect(ctx context.Context) (known []record.Session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for rec, err := range r.o.Store.Sessions(ctx) {
		if err != nil && rec.ID == "" {
			return nil, err
		}
		if err != nil {
			r.o.Logger.Error("the record of a session is damaged, so the session cannot be used; restore a backup of the home to get it back", "session", rec.ID, "err", err)
			r.broken[rec.ID] = broken{err: cellhold.Wrap(cellhold.Internal, err, "The record of the session is damaged on the server's disk.")}
			r.spared[rec.ID] = true
			continue
		}
		known = append(known, rec)
		r.adopting[rec.ID] = &adopting{rec, make(chan struct{})}
	}
	return known, nil
}

// adoptOne adopts one session, or records its end. It deletes a fork that an earlier server did not finish, and the session
// of a run.
func (r *Registry) adoptOne(ctx context.Context, rec record.Session) {
	var s *session.Session
	var err error
	if rec.Once || rec.State == cellhold.SessionStarting && rec.Parent != "" {
		err = session.DeleteUnfinished(ctx, r.env, rec)
	} else {
		s, err = session.Adopt(ctx, ctx, r.env, rec)
	}
	if err != nil {
		r.o.Logger.Error("adopting a session", "session", rec.ID, "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reaped && err == nil { // reapAll omitted this session, and no call can reach it yet
		r.mu.Unlock()
		r.reapOne(ctx, rec, s)
		r.mu.Lock()
	}
	if err != nil {
		r.broken[rec.ID] = broken{rec.Owner, cellhold.Wrap(cellhold.Unavailable, err, "The server could not take over the session when it started. The server's log has the reason.")}
		r.spared[rec.ID] = true
	}
	if s != nil {
		r.put(s)
	}
	close(r.adopting[rec.ID].done)
	delete(r.adopting, rec.ID)
	hooks{r}.Reschedule()
}

// awaitAdoption waits until the sessions with matching records are adopted.
func (r *Registry) awaitAdoption(ctx context.Context, match func(record.Session) bool) error {
	for _, a := range r.stillAdopting() {
		if !match(a.rec) {
			continue
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return cellhold.Wrap(cellhold.Unavailable, context.Cause(ctx), "The sandbox of the session has not answered since the server started. Retry in a minute.")
		}
	}
	return nil
}

// stillAdopting returns the sessions whose adoption is not done.
func (r *Registry) stillAdopting() []*adopting {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*adopting, 0, len(r.adopting))
	for _, a := range r.adopting {
		list = append(list, a)
	}
	return list
}
