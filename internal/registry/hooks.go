package registry

import (
	"context"

	"cellhold"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// hooks is what sessions ask of the registry: session.Registry.
type hooks struct{ *Registry }

// Add makes a session known while the server takes sessions.
func (h hooks) Add(s *session.Session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return errNotReady
	}
	h.put(s)
	return nil
}

// Forget makes a session that has ended unknown. With readable it stays known by its id.
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

// ReserveRunning takes a slot for a session that gets a sandbox again.
func (h hooks) ReserveRunning() (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := h.runningSessions(); all >= h.o.MaxSessions {
		return nil, cellhold.Errorf(cellhold.Exhausted,
			"The session is hibernated and cannot be resumed: the server runs %d sessions, which is its limit. End or hibernate one, or raise --max-sessions.", all)
	}
	h.starting++
	return h.giveBack(&h.starting), nil
}

// ReserveHibernated takes a slot for a session that hibernates.
func (h hooks) ReserveHibernated() (release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.hibernating
	for _, s := range h.sessions {
		if s.Record().State == cellhold.SessionHibernated {
			n++
		}
	}
	if n >= h.o.MaxHibernated {
		return nil, cellhold.Errorf(cellhold.Exhausted, "%d sessions are hibernated, which is the limit. End one, or raise --max-hibernated.", n)
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

// Destroy destroys a sandbox, also after ctx has ended.
func (h hooks) Destroy(ctx context.Context, sb sandbox.Sandbox) {
	h.cleanUp(ctx, stray{sb.ID(), sb.Destroy})
}

// DropSnapshot removes a snapshot in the same way.
func (h hooks) DropSnapshot(ctx context.Context, name string) {
	if name != "" {
		h.cleanUp(ctx, stray{"", func(ctx context.Context) error { return h.env.Shelf.Remove(ctx, name) }})
	}
}

// Reschedule wakes the expiry.
func (h hooks) Reschedule() {
	select {
	case h.Registry.reschedule <- struct{}{}:
	default:
	}
}
