package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/sandbox"
)

// adoptAtOnce bounds the sandboxes that are taken over at the same time after a restart: enough to
// be quick with one that does not answer, few enough not to overload a small host.
const adoptAtOnce = 8

// adoptTimeout bounds the taking over of one sandbox. An agent that is slower than that has hung.
const adoptTimeout = 20 * time.Second

// Run takes over the sandboxes of an earlier server, destroys strays, and then lets sessions expire
// until the context ends. It returns when everything that runs here has stopped. The sandboxes live
// on for the next server, unless the manager is ephemeral. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	m.base = base
	m.mu.Unlock()
	err := m.adopt(ctx)
	if err == nil {
		m.setReady(true)
		close(m.adopted)
		m.expire(ctx)
		m.setReady(false)
	}
	m.shutdown(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// WaitReady returns nil once the manager takes sessions: when Run has taken over what an earlier
// server left.
func (m *Manager) WaitReady(ctx context.Context) error {
	select {
	case <-m.adopted:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *Manager) setReady(ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = ready
}

// shutdown lets go of all sessions.
func (m *Manager) shutdown(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(adoptAtOnce)
	for _, s := range m.all() {
		g.Go(func() error {
			s.letGo(ctx)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	m.running.Wait()
}

// letGo stops what runs here for a session; its sandbox lives on, unless the manager is ephemeral.
func (s *Session) letGo(ctx context.Context) {
	clean, cancel := cleanup(ctx)
	defer cancel()
	leaving := cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. Come back with the number of your last event.")
	release, err := s.hold(clean) // an End that is under way is waited for
	if err != nil {
		// Somebody changes its life and does not come back. The next server takes over what it finds.
		s.slog.Error("waiting for a change of the session", "err", err)
		s.stop(leaving)
		return
	}
	defer release()
	if s.record().State == cellhold.SessionEnded {
		return
	}
	sb := s.detach()
	if err := s.notes.Write(clean); err != nil {
		s.slog.Error("writing the notebook", "err", err)
	}
	s.stop(leaving)
	if s.m.o.Ephemeral {
		if sb != nil {
			s.m.destroy(ctx, sb)
		}
		s.m.dropSnapshots(ctx, s.record())
	}
}

// adopt brings the store and the living sandboxes together.
func (m *Manager) adopt(ctx context.Context) error {
	var known []cellhold.Session
	spared := map[cellhold.SessionID]bool{}
	for rec, err := range m.o.Store.Sessions(ctx) {
		if err != nil && rec.ID == "" {
			return err
		}
		if err != nil {
			// One damaged record must not keep the others from their owners. Its sandbox, if
			// any, is left for the operator to look at.
			m.o.Logger.Error("reading a session's record", "session", rec.ID, "err", err)
			spared[rec.ID] = true
			continue
		}
		known = append(known, rec)
	}
	var mu sync.Mutex // guards spared
	var g errgroup.Group
	g.SetLimit(adoptAtOnce)
	for _, rec := range known {
		g.Go(func() error {
			if err := m.adoptOne(ctx, rec); err != nil {
				m.o.Logger.Error("taking over a session", "session", rec.ID, "err", err)
				mu.Lock()
				defer mu.Unlock()
				spared[rec.ID] = true
			}
			return nil
		})
	}
	_ = g.Wait()          // the functions return nil
	if ctx.Err() == nil { // else what was not taken over yet is the next server's
		m.reapSnapshots(ctx, spared)
	}
	return m.reapStrays(ctx, spared)
}

// adoptOne takes over one session, or writes its end.
func (m *Manager) adoptOne(ctx context.Context, rec cellhold.Session) error {
	if rec.State == cellhold.SessionStarting && rec.Parent != "" {
		return m.unmake(ctx, rec)
	}
	log, err := kernel.NewLog(ctx, rec.ID, m.o.Store)
	if err != nil {
		return err
	}
	if len(rec.Kernels) == 0 || rec.Kernels[0].Spec == "" {
		rec.Kernels = m.o.firstKernel() // the record is of a server that knew no others
	}
	s := newSession(m, rec, log)
	m.mu.Lock()
	base := m.base
	m.mu.Unlock()
	if rec.State == cellhold.SessionEnded {
		log.Close(nil)
		m.add(s)
		return nil
	}
	pending, err := m.pending(ctx, rec.ID)
	if err != nil {
		log.Close(err)
		return err
	}
	s.run(base)
	if rec.State == cellhold.SessionHibernated && !m.o.Ephemeral {
		err := s.sleepOn(ctx, rec, pending)
		if err != nil {
			s.stop(err)
		}
		return err
	}
	if rec.State == cellhold.SessionReady && !m.o.Ephemeral {
		err := s.readopt(ctx, rec, pending)
		if err == nil {
			m.o.Logger.Info("session taken over", "session", rec.ID, "sandbox", rec.Sandbox, "pending", len(pending))
			m.add(s)
			s.notes.Want()
			return nil
		}
		if ctx.Err() != nil { // shutting down: the next server tries again
			s.stop(nil)
			return err
		}
		m.o.Logger.Warn("session lost", "session", rec.ID, "sandbox", rec.Sandbox, "err", err)
	}
	reason := cellhold.EndLost
	if rec.State == cellhold.SessionStarting {
		reason = cellhold.EndFailed
	}
	return s.endLost(ctx, pending, reason)
}

// readopt connects to the living sandbox of a session.
func (s *Session) readopt(ctx context.Context, rec cellhold.Session, pending []cellhold.Cell) error {
	adopting, cancel := context.WithTimeout(ctx, adoptTimeout)
	sb, err := s.m.o.Driver.Adopt(adopting, sandbox.ID(rec.Sandbox))
	cancel()
	if err != nil {
		return err
	}
	s.change(func(r *cellhold.Session) { r.Used = time.Now().UTC() })
	var known []cellhold.KernelID
	if s.m.o.Driver.Features().Pause { // the last server may have died while it was saving the sandbox
		err = sb.Resume(ctx)
	}
	if err == nil {
		known, err = s.attach(ctx, sb, pending)
	}
	switch {
	case err != nil:
	case !slices.Contains(known, rec.Kernels[0].ID):
		// The last server died before it had asked for the kernels.
		err = s.boot(ctx, rec, known)
	default:
		s.settleKernels(ctx, rec, known)
		err = s.recognise(ctx, len(pending) == 0)
		if err == nil {
			err = s.letOut(ctx)
		}
	}
	if err == nil {
		return nil
	}
	s.detach()
	if ctx.Err() == nil { // else this server is ending, and the sandbox is the next one's
		s.m.destroy(ctx, sb)
	}
	return err
}

// settleKernels finishes what the last server had begun when it died: it starts the kernels that the
// agent was not asked for, and ends those that were to be removed.
func (s *Session) settleKernels(ctx context.Context, rec cellhold.Session, known []cellhold.KernelID) {
	for i, k := range rec.Kernels {
		if slices.Contains(known, k.ID) {
			continue
		}
		if err := s.kernel(k.ID).Start(ctx, startOf(rec, i)); err != nil {
			s.slog.Error("starting a kernel", "kernel", k.ID, "err", err)
		}
	}
	for _, id := range known {
		if s.kernel(id) != nil {
			continue
		}
		if err := s.client().Kernel(id).Delete(ctx); err != nil {
			s.slog.Error("ending a kernel", "kernel", id, "err", err)
		}
	}
}

// pending returns the cells of a session that are not done, in order.
func (m *Manager) pending(ctx context.Context, id cellhold.SessionID) ([]cellhold.Cell, error) {
	var cells []cellhold.Cell
	for c, err := range m.o.Store.Cells(ctx, id) {
		if err != nil && c.ID != "" {
			m.o.Logger.Error("reading a cell", "session", id, "cell", c.ID, "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.State != cellhold.CellDone {
			cells = append(cells, c)
		}
	}
	return cells, nil
}

// reapStrays destroys the sandboxes of this driver that no session lives in.
func (m *Manager) reapStrays(ctx context.Context, spared map[cellhold.SessionID]bool) error {
	infos, err := m.o.Driver.List(ctx)
	if err != nil {
		return err
	}
	owned := map[sandbox.ID]bool{}
	for _, s := range m.all() {
		if s.client() != nil {
			owned[sandbox.ID(s.record().Sandbox)] = true
		}
	}
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return err // what was not taken over yet is the next server's, and no stray
		}
		if owned[info.ID] || spared[cellhold.SessionID(info.Labels[sessionLabel])] {
			continue
		}
		m.o.Logger.Info("destroying a stray sandbox", "sandbox", info.ID)
		m.cleanUp(ctx, info.ID, func(ctx context.Context) error { return m.o.Driver.Remove(ctx, info.ID) })
	}
	return nil
}

// destroyTimeout bounds the destruction of one sandbox; a fork bomb took 4 s to tear down.
const destroyTimeout = 30 * time.Second

// destroy ends a sandbox. It goes on when the context ends.
func (m *Manager) destroy(ctx context.Context, sb sandbox.Sandbox) {
	m.cleanUp(ctx, sb.ID(), sb.Destroy)
}

// stray is a sandbox that could not be destroyed, and the way to try it again.
type stray struct {
	id      sandbox.ID
	destroy func(context.Context) error
}

// cleanUp destroys a sandbox; one that cannot be destroyed now is tried again later.
func (m *Manager) cleanUp(ctx context.Context, id sandbox.ID, destroy func(context.Context) error) {
	clean, cancel := cleanup(ctx)
	defer cancel()
	if err := destroy(clean); err != nil {
		m.o.Logger.Error("destroying a sandbox", "sandbox", id, "err", err)
		m.mu.Lock()
		m.strays = append(m.strays, stray{id, destroy})
		m.mu.Unlock()
		m.nudge()
	}
}

// cleanup returns a context that outlives ctx, for work that must be finished after a failure or
// a cancelled request, and still has a deadline.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
}
