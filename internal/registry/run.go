package registry

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

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
	err := r.adopt(base)
	if err == nil {
		r.setReady(true)
		close(r.adopted)
		r.expire(ctx)
		r.setReady(false)
	}
	cancel() // also ends adoptions that still run
	r.beside.Wait()
	r.shutdown(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// WaitReady waits until the registry accepts new sessions. Some sessions of an earlier server can still be in adoption
// then, because their sandboxes have not answered yet.
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
	q := newQueue(&r.beside, 1, sweepPatience)
	for _, s := range r.all() {
		at, due := s.Due(ctx, now)
		if due {
			q.add(func() { s.Expire(ctx) })
		} else if at.Before(next) {
			next = at
		}
	}
	q.wait()
	return r.retryStrays(ctx, q, now, next)
}
