package registry

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/session"
	"cellhold/internal/session/idle"
)

// maxConcurrent is the number of sessions that are adopted or detached at the same time. It is more than 1, so
// that one sandbox that does not answer delays few others. It is small, so that it does not overload the host.
const maxConcurrent = 8

// Run adopts the sessions of an earlier server, and destroys the sandboxes and snapshots that no session
// needs. Then it hibernates, ends and purges sessions when they are due, until ctx ends. It returns when the
// goroutines of all sessions have stopped. The sandboxes keep running for the next server, unless this server
// is ephemeral. Run must be called once.
func (r *Registry) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.base = base
	r.mu.Unlock()
	err := r.adopt(ctx, base)
	if err == nil {
		r.setReady(true)
		close(r.adopted)
		r.expire(ctx)
		r.setReady(false)
	}
	r.shutdown(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// WaitReady waits until Run has adopted the sessions of an earlier server, and the registry accepts new ones.
func (r *Registry) WaitReady(ctx context.Context) error {
	select {
	case <-r.adopted:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Registry) setReady(ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = ready
}

// shutdown detaches all sessions from their sandboxes, and waits for the sessions' goroutines.
func (r *Registry) shutdown(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(maxConcurrent)
	for _, s := range r.all() {
		g.Go(func() error {
			s.Detach(ctx)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	r.running.Wait()
}

// adopt adopts the recorded sessions, and destroys the sandboxes and snapshots that no session needs. base is
// the context of the sessions' goroutines.
func (r *Registry) adopt(ctx, base context.Context) error {
	known, spared, err := r.records(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards spared while the goroutines run
	var g errgroup.Group
	g.SetLimit(maxConcurrent)
	for _, rec := range known {
		g.Go(func() error {
			if err := r.adoptOne(ctx, base, rec); err != nil {
				r.o.Logger.Error("adopting a session", "session", rec.ID, "err", err)
				mu.Lock()
				defer mu.Unlock()
				spared[rec.ID] = true
			}
			return nil
		})
	}
	_ = g.Wait()          // the functions return nil
	if ctx.Err() == nil { // otherwise some sessions are not adopted yet, and still need their snapshots
		r.reapSnapshots(ctx, spared)
	}
	return r.reapStrays(ctx, spared)
}

// records returns the recorded sessions. It skips a damaged record, so that the server can adopt the other
// sessions. spared has the sessions with damaged records. Their sandboxes and snapshots are kept, so that the
// operator can examine them.
func (r *Registry) records(ctx context.Context) (known []record.Session, spared map[cellhold.SessionID]bool, err error) {
	spared = map[cellhold.SessionID]bool{}
	for rec, err := range r.o.Store.Sessions(ctx) {
		if err != nil && rec.ID == "" {
			return nil, nil, err
		}
		if err != nil {
			r.o.Logger.Error("reading a session's record", "session", rec.ID, "err", err)
			spared[rec.ID] = true
			continue
		}
		known = append(known, rec)
	}
	return known, spared, nil
}

// adoptOne adopts one session, or records its end. It deletes a fork that an earlier server did not finish.
func (r *Registry) adoptOne(ctx, base context.Context, rec record.Session) error {
	if rec.State == cellhold.SessionStarting && rec.Parent != "" {
		return session.DeleteUnfinishedFork(ctx, r.env, rec)
	}
	s, err := session.Adopt(ctx, base, r.env, rec)
	if s != nil {
		r.mu.Lock()
		r.put(s)
		r.mu.Unlock()
	}
	return err
}

// expire hibernates, ends and purges sessions when they are due, until ctx ends.
func (r *Registry) expire(ctx context.Context) {
	for {
		next := r.sweep(ctx, time.Now())
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-r.reschedule:
			t.Stop()
		case <-t.C:
		}
	}
}

// sweep hibernates, ends and purges the sessions that are due. It returns the time of the next sweep.
func (r *Registry) sweep(ctx context.Context, now time.Time) time.Time {
	next := now.Add(time.Hour) // if no session is due earlier; the value is arbitrary
	for _, s := range r.all() {
		at, due := s.Due(ctx, now)
		if due {
			s.Expire(ctx)
		} else if at.Before(next) {
			next = at
		}
	}
	if retry := now.Add(idle.RetryAfter); r.retryStrays(ctx) && retry.Before(next) {
		next = retry
	}
	return next
}
