package registry

import (
	"context"

	"cellhold"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// hooks implements session.Registry.
type hooks struct{ *Registry }

// Add adds a session while the server accepts sessions.
func (h hooks) Add(s *session.Session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return errNotReady
	}
	h.put(s)
	return nil
}

// Forget removes an ended session. With readable, the session can still be found by its id.
func (h hooks) Forget(s *session.Session, readable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rec := s.Record()
	if key := articleKey(rec.Owner, rec.User); h.article[key] == s.ID() {
		delete(h.article, key)
	}
	if !readable {
		delete(h.sessions, s.ID())
	}
}

// ReserveRunning reserves a slot for a session that gets a sandbox again.
func (h hooks) ReserveRunning() (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := h.runningSessions(); all >= h.o.MaxSessions {
		return nil, cellhold.Errorf(cellhold.Exhausted,
			"The hibernated session cannot be resumed: the server has %d running sessions, and the limit is %d. End or hibernate sessions, or raise --max-sessions.", all, h.o.MaxSessions)
	}
	h.starting++
	return h.giveBack(&h.starting), nil
}

// ReserveHibernated reserves a slot for a session that hibernates.
func (h hooks) ReserveHibernated() (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.hibernating
	for _, rec := range h.records() {
		if rec.State == cellhold.SessionHibernated {
			n++
		}
	}
	if n >= h.o.MaxHibernated {
		return nil, cellhold.Errorf(cellhold.Exhausted, "The server has %d hibernated sessions; the limit is %d. End sessions, or raise --max-hibernated.", n, h.o.MaxHibernated)
	}
	h.hibernating++
	return h.giveBack(&h.hibernating), nil
}

func (h hooks) giveBack(slots *int) func() {
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		*slots--
	}
}

// Destroy destroys a sandbox, even after ctx ended.
func (h hooks) Destroy(ctx context.Context, sb sandbox.Sandbox) {
	h.cleanUp(ctx, h.newStray(sb.ID(), sb.Destroy))
}

// DropSnapshot removes a snapshot, even after ctx ended.
func (h hooks) DropSnapshot(ctx context.Context, name string) {
	if name != "" {
		h.cleanUp(ctx, h.newStray("", func(ctx context.Context) error { return h.env.Snapshots.Remove(ctx, name) }))
	}
}

// Reschedule wakes the goroutine of expire.
func (h hooks) Reschedule() {
	select {
	case h.Registry.reschedule <- struct{}{}:
	default:
	}
}
