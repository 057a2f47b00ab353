package session

import (
	"context"
	"slices"

	"cellhold"
	"cellhold/internal/kernel"
)

// enter lets a call work with the sandbox until it leaves. A session that sleeps is woken first; while
// its state is being saved, the call waits. Whatever works with the sandbox enters, or holds the life of a
// session that is awake.
func (s *Session) enter(ctx context.Context) (leave func(), err error) {
	if in, err := s.tryEnter(); in || err != nil {
		return s.leave, err
	}
	release, err := s.awake(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside++
	return s.leave, nil
}

// enterInTurn is enter for calls whose order counts: those that had to wait come in one after the other,
// in the order in which they came.
func (s *Session) enterInTurn(ctx context.Context) (leave func(), err error) {
	if in, err := s.tryEnter(); in || err != nil {
		return s.leave, err
	}
	return s.awake(ctx) // who waits for a channel is served in order
}

// tryEnter enters if that needs no waiting. An error says that it never will.
func (s *Session) tryEnter() (in bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.rec.State {
	case cellhold.SessionReady:
		if !s.still {
			s.inside++
			return true, nil
		}
		return false, nil
	case cellhold.SessionHibernated:
		return false, nil
	}
	return false, cellhold.Errorf(cellhold.Conflict, "The session is %s.", s.rec.State)
}

func (s *Session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
}

// awake takes the right to change the session's life, and wakes the session if it sleeps.
func (s *Session) awake(ctx context.Context) (release func(), err error) {
	release, err = s.hold(ctx)
	if err != nil {
		return nil, err
	}
	switch state := s.record().State; state {
	case cellhold.SessionReady:
	case cellhold.SessionHibernated:
		err = s.resume(ctx)
	default:
		err = cellhold.Errorf(cellhold.Conflict, "The session is %s.", state)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// quieten keeps everything from beginning in the session's sandbox until stir is called, or says what is
// under way. The caller holds the life.
func (s *Session) quieten() (p *place, stir func(), err error) {
	s.mu.Lock()
	p = s.place
	switch {
	case p == nil:
		err = cellhold.Errorf(cellhold.Conflict, "The session has no sandbox now. Restart its kernel to get a new one.")
	case s.inside > 0 || s.moving.Load() > 0:
		err = cellhold.Errorf(cellhold.Conflict, "The session is in use: a file is moved, packages are installed, or a call is under way. Try again when that is done.")
	default:
		s.still = true
	}
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	stir = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.still = false
	}
	if err := s.restless(); err != nil { // what began before is seen here
		stir()
		return nil, nil, err
	}
	return p, stir, nil
}

// restless says what runs in the session.
func (s *Session) restless() error {
	busy := func(k *running) bool { return k.Busy() }
	changing := func(k *running) bool {
		state := k.State().State
		return state == cellhold.KernelStarting || state == cellhold.KernelRestarting
	}
	c := s.currentCommands()
	switch {
	case slices.ContainsFunc(s.all(), busy):
		return cellhold.Errorf(cellhold.Conflict, "A cell runs or waits in the session. Wait for it, or interrupt it.")
	case slices.ContainsFunc(s.all(), changing):
		return cellhold.Errorf(cellhold.Conflict, "A kernel of the session is starting. Try again when it is there.")
	case c != nil && c.Busy():
		return cellhold.Errorf(cellhold.Conflict, "A command runs in the session. Wait for it, or end it.")
	}
	return nil
}

// turn records what the session becomes together with the event that says so, all or nothing. f is given
// the number of the event, and may be called twice.
func (s *Session) turn(ctx context.Context, ev cellhold.Event, f func(r *cellhold.Session, seq int64)) error {
	return s.log.AppendWith(ctx, []cellhold.Event{ev}, func(ctx context.Context, evs []cellhold.Event) error {
		rec := s.record()
		f(&rec, evs[0].Seq)
		if err := s.m.o.Store.AppendSession(ctx, rec, evs); err != nil {
			return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be recorded. Is the server's disk full?")
		}
		s.change(func(r *cellhold.Session) { f(r, evs[0].Seq) })
		return nil
	})
}

// followed are the session's kernels as they are followed now, by their ids.
func (s *Session) followed() map[cellhold.KernelID]*kernel.Kernel {
	m := map[cellhold.KernelID]*kernel.Kernel{}
	for _, k := range s.all() {
		m[k.State().ID] = k.Kernel
	}
	return m
}
