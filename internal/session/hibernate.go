package session

import (
	"context"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/shelf"
)

// saveTimeout bounds the saving of one sandbox: 1 GiB at 10 MB/s.
const saveTimeout = 2 * time.Minute

// Hibernate saves the session to disk and frees its memory. The next use that needs the sandbox wakes it. What
// runs is a Conflict; a session that sleeps already is no error.
func (s *Session) Hibernate(ctx context.Context) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	switch state := s.record().State; state {
	case cellhold.SessionHibernated:
		return nil
	case cellhold.SessionReady:
		return s.hibernate(ctx, false)
	default:
		return cellhold.Errorf(cellhold.Conflict, "The session is %s.", state)
	}
}

// hibernate is Hibernate for who holds the life of a session that is ready. The order of its steps is
// what a death of the server at any of them leaves: until the record says hibernated, there is a sandbox
// for the next server to adopt; from then on there is the saved state. What is not needed of either is
// reaped at the next start.
func (s *Session) hibernate(ctx context.Context, idle bool) error {
	if err := s.m.shelf.Able(); err != nil {
		return err
	}
	p, stir, err := s.quieten()
	if err != nil {
		return err
	}
	defer stir()
	free, err := s.m.reserveBed()
	if err != nil {
		return err
	}
	defer free()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	s.lastFiles(ctx)
	if err := s.notes.Flush(ctx); err != nil {
		s.slog.Error("writing the notebook", "err", err)
	}
	begun := time.Now()
	name := shelf.Name(s.id, shelf.Asleep)
	if err := s.save(ctx, p, name, true); err != nil {
		return err
	}
	if !s.depart(p) {
		s.m.dropSnapshot(ctx, name)
		return cellhold.Errorf(cellhold.Conflict, "The session's sandbox ended while it was being saved. Restart its kernel to get a new one.")
	}
	ev := cellhold.NewEvent(cellhold.EventSessionHibernated, "", "", cellhold.SessionHibernatedContent{Idle: idle})
	err = s.turn(ctx, ev, func(r *cellhold.Session, _ int64) {
		r.State, r.Snapshot, r.Boot = cellhold.SessionHibernated, name, p.boot
	})
	if err != nil {
		s.m.dropSnapshot(ctx, name)
		return errors.Join(err, s.goBack(ctx, p))
	}
	s.m.destroy(ctx, p.sandbox)
	s.slog.Info("session hibernated", "idle", idle, "took", time.Since(begun))
	return nil
}

// save saves the state of the sandbox. With pause it stays paused afterwards, so that nothing happens
// in it that is not saved; when saving fails it goes on.
func (s *Session) save(ctx context.Context, p *place, name string, pause bool) error {
	need := int64(0)
	if u, err := p.sandbox.Usage(ctx); err == nil {
		need = u.Memory
	}
	if err := s.m.shelf.Room(ctx, need); err != nil {
		return err
	}
	var err error
	if pause {
		err = p.sandbox.Pause(ctx)
	}
	if err == nil {
		err = p.sandbox.Snapshot(ctx, name)
	}
	if err == nil {
		return nil
	}
	s.slog.Error("saving a session", "err", err)
	if pause {
		clean, cancel := cleanup(ctx)
		defer cancel()
		err = errors.Join(err, p.sandbox.Resume(clean))
	}
	if m, ok := errors.AsType[*sandbox.SnapshotError](err); ok {
		return cellhold.Wrap(cellhold.Unsupported, err, "The session's sandbox goes on as it is: this server could not use what is saved of it, because %s.", m.Reason)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return cellhold.Wrap(cellhold.Unsupported, err, "The session's sandbox cannot be saved on this server. It goes on as it is.")
	}
	if errors.Is(err, sandbox.ErrSpace) {
		return cellhold.Wrap(cellhold.Exhausted, err, "The server's disk has no room to save the session, which goes on as it is.")
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be saved, and goes on as it is. The server's log says why.")
}

// depart lets go of a place whose sandbox lives; false when it has ended, which is being recorded.
func (s *Session) depart(p *place) bool {
	s.mu.Lock()
	if s.place != p || p.ended {
		s.mu.Unlock()
		return false
	}
	s.place = nil
	s.mu.Unlock()
	p.quit()
	return true
}

// goBack takes the sandbox of a place that was departed from again.
func (s *Session) goBack(ctx context.Context, p *place) error {
	err := p.sandbox.Resume(ctx)
	var back *place
	if err == nil {
		back, err = s.arrive(ctx, p.sandbox, arrival{kernels: s.record().Kernels, before: s.followed()})
	}
	if err == nil {
		if err = s.letOutOf(ctx, back); err == nil {
			s.seatAll(back)
			return nil
		}
		back.quit()
	}
	s.slog.Error("going back to a sandbox", "err", err)
	s.m.destroy(ctx, p.sandbox)
	return errors.Join(err, s.dieAll(ctx, cellhold.StatusLost, "The sandbox could not be reached any more after it was saved."))
}

// dropSnapshot removes a saved state that is not needed any more, and tries it again later if it must.
func (m *Manager) dropSnapshot(ctx context.Context, name string) {
	if name != "" {
		m.cleanUp(ctx, "", func(ctx context.Context) error { return m.shelf.Remove(ctx, name) })
	}
}

// dropSnapshots removes all that is saved of a session.
func (m *Manager) dropSnapshots(ctx context.Context, rec cellhold.Session) {
	m.dropSnapshot(ctx, rec.Snapshot)
	for _, c := range rec.Checkpoints {
		m.dropSnapshot(ctx, c.Snapshot)
	}
}

// reapSnapshots removes the saved states that no session needs.
func (m *Manager) reapSnapshots(ctx context.Context, spared map[cellhold.SessionID]bool) {
	needed := map[string]bool{}
	for _, s := range m.all() {
		rec := s.record()
		if rec.State == cellhold.SessionEnded {
			continue
		}
		needed[rec.Snapshot] = true
		for _, c := range rec.Checkpoints {
			needed[c.Snapshot] = true
		}
	}
	if err := m.shelf.Reap(ctx, needed, spared); err != nil {
		m.o.Logger.Error("removing saved states that nobody needs", "err", err)
	}
}

// sleepOn makes a hibernated session known that an earlier server has left.
func (s *Session) sleepOn(ctx context.Context, rec cellhold.Session, pending []cellhold.Cell) error {
	for _, x := range rec.Kernels {
		k, err := kernel.New(ctx, kernel.Options{ID: x.ID, Session: s.id, Boot: rec.Boot, Log: s.log,
			Journal: s.m.o.Store, Logger: s.slog, Pending: of(pending, x.ID)})
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.kernels[x.ID] = resting(k)
		s.mu.Unlock()
	}
	c, err := s.newCommands(ctx, nil, guestapi.Info{})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.commands = c
	s.mu.Unlock()
	s.m.add(s)
	return nil
}

// hibernateIdle hibernates a session that nothing has used. One that cannot be is left alone for a while.
func (s *Session) hibernateIdle(ctx context.Context) {
	select {
	case s.life <- struct{}{}:
		defer func() { <-s.life }()
	default:
		s.postpone() // somebody changes its life
		return
	}
	now := time.Now()
	if s.record().State != cellhold.SessionReady || now.Before(s.due(now)) {
		return // ended, or used at the last moment
	}
	if err := s.hibernate(ctx, true); err != nil && ctx.Err() == nil {
		s.postpone()
		s.slog.Warn("an idle session could not be hibernated", "err", err)
	}
}

// postpone leaves a session awake for as long as an idle one is.
func (s *Session) postpone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awakeUntil = time.Now().Add(max(s.m.o.HibernateAfter, strayRetry))
}

// bedtime is when an idle session is hibernated, the zero time when it never is.
func (s *Session) bedtime(used time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m.o.HibernateAfter == 0 || s.rec.State != cellhold.SessionReady || s.place == nil || s.m.shelf.Able() != nil {
		return time.Time{}
	}
	return later(used.Add(s.m.o.HibernateAfter), s.awakeUntil)
}
