package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/mirror"
	"cellhold/internal/packages"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/displays"
	"cellhold/internal/session/notes"
	"cellhold/internal/session/peaks"
)

// Session is one session. All methods may be called from any goroutine.
type Session struct {
	m      *Manager
	id     cellhold.SessionID
	owner  string
	rootfs string
	log    *kernel.Log
	slog   *slog.Logger
	notes  *notes.Notes
	mirror *mirror.Mirror

	displays  *displays.Displays
	transfers atomic.Int32 // uploads, downloads and watches under way
	moving    atomic.Int32 // those of them that are no watches, and installations

	recognised bool // which of the guest's files the mirror has; guarded by life

	life       chan struct{} // capacity 1: held by whoever opens, restarts or ends the session
	installing chan struct{} // capacity 1: held by whoever changes the packages

	mu         sync.Mutex
	inside     int       // calls that work with the sandbox
	still      bool      // its state is being saved: calls wait for the life to be free
	awakeUntil time.Time // no try to hibernate an idle session before

	rec     cellhold.Session               // its lists are never changed in place
	place   *place                         // nil when there is no sandbox
	kernels map[cellhold.KernelID]*running // dead when place is nil

	tally packages.Tally // of what code has asked for, also while the session sleeps; a rollback takes nothing back

	pulse pulse // the last look at whether something works on by itself

	keyed sync.Mutex // held while a cell with a key is looked for and submitted

	commands *command.Runner // the newest; nil before the first sandbox

	ctx    context.Context // of the goroutines, from run to stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once // of stop
}

// place is one sandbox of a session with what runs for it here.
type place struct {
	sandbox sandbox.Sandbox
	client  *guest.Client
	boot    string // the agent's life
	peaks   *peaks.Meter
	why     atomic.Pointer[string] // what we destroyed the sandbox for; nil when we did not
	run     context.Context        // of what runs for it here
	cancel  context.CancelFunc
	over    chan struct{} // closed when its end has been recorded, and the session has no place
	ended   bool          // the sandbox has ended, and that is being recorded; guarded by Session.mu

	known    []cellhold.KernelID // what the agent had been asked for when we arrived
	kernels  []*kernel.Kernel    // the session's, in their order
	commands *command.Runner
	wg       sync.WaitGroup
}

func newSession(m *Manager, rec cellhold.Session, log *kernel.Log) *Session {
	l := m.o.Logger.With("session", rec.ID)
	s := &Session{m: m, id: rec.ID, owner: rec.Owner, rec: rec, log: log, slog: l, life: make(chan struct{}, 1),
		installing: make(chan struct{}, 1),
		kernels:    map[cellhold.KernelID]*running{}}
	s.notes = notes.New(s.writeNotebook, l)
	s.displays = displays.New(displays.Options{Cells: s.Cells, Logger: l,
		Put: func(ctx context.Context, c cellhold.Cell) error { return m.o.Store.PutCell(ctx, c) },
		Cell: func(ctx context.Context, c cellhold.CellID) (cellhold.Cell, error) {
			return m.o.Store.Cell(ctx, s.id, c)
		}})
	s.mirror = mirror.New(&m.folders, m.o.outputDir(rec), string(rec.ID), rec.Limits.Output)
	return s
}

// run starts the session's own goroutines under the manager's context.
func (s *Session) run(base context.Context) {
	s.ctx, s.cancel = context.WithCancel(base)
	s.m.running.Add(1)
	s.wg.Go(func() { s.notes.Run(s.ctx) })
}

// stop ends the session's goroutines and waits for them; watchers get err, or a plain end.
func (s *Session) stop(err error) {
	s.once.Do(func() {
		s.cancel()
		s.detach()
		s.wg.Wait()
		s.log.Close(err)
		s.m.running.Done()
	})
}

// record returns the record as it is now.
func (s *Session) record() cellhold.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

// change changes the record under the lock and returns it.
func (s *Session) change(f func(*cellhold.Session)) cellhold.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.rec)
	return s.rec
}

// hold takes the right to change the session's life.
func (s *Session) hold(ctx context.Context) (release func(), err error) {
	select {
	case s.life <- struct{}{}:
		return func() { <-s.life }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openFrom makes the session's sandbox, which continues from a snapshot unless it starts cold, and its
// kernels, and returns when they are idle. When it fails nothing of the sandbox is left.
func (s *Session) openFrom(ctx context.Context, rec cellhold.Session, from string) error {
	spec := s.spec(rec)
	spec.From = from
	sb, err := s.m.o.Driver.Create(ctx, spec)
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", rec.Sandbox, err)
	}
	s.change(func(r *cellhold.Session) { r.Sandbox = string(sb.ID()) }) // a ready one has an id of its own
	known, err := s.attach(ctx, sb, nil)
	if err != nil {
		s.m.destroy(ctx, sb)
		return err
	}
	if err := s.boot(ctx, rec, known); err != nil {
		s.close(ctx)
		// A cell may have been queued for it already.
		clean, cancel := cleanup(ctx)
		defer cancel()
		return errors.Join(err, s.dieAll(clean, cellhold.StatusLost, "The kernel could not be started."))
	}
	return nil
}

// boot makes a sandbox the session's own: it puts the user's files into it, opens the way out, and starts
// the kernels. The session needs the first one; another that does not start is dead, and says why.
func (s *Session) boot(ctx context.Context, rec cellhold.Session, known []cellhold.KernelID) error {
	if err := s.mirror.Push(ctx, s.client()); err != nil {
		return fmt.Errorf("putting the output files into the sandbox: %w", err)
	}
	s.recognised = true
	if err := s.letOut(ctx); err != nil {
		return fmt.Errorf("opening the way out of the sandbox: %w", err)
	}
	if err := s.startKernels(ctx, rec, known); err != nil {
		return err
	}
	for i, k := range s.all() {
		if err := k.WaitIdle(ctx); err != nil && (i == 0 || ctx.Err() != nil) {
			return err
		}
	}
	return nil
}

// startOf says how to start a session's kernel. The startup code is written for the first one.
func startOf(rec cellhold.Session, i int) guestapi.StartKernel {
	r := guestapi.StartKernel{Spec: rec.Kernels[i].Spec}
	if i == 0 {
		r.Startup = rec.Startup
	}
	return r
}

// attach connects to the agent of a sandbox and lets its kernels run here. pending are the cells
// that an earlier server left. known are the kernels that the agent has been asked for before.
func (s *Session) attach(ctx context.Context, sb sandbox.Sandbox, pending []cellhold.Cell) (known []cellhold.KernelID, err error) {
	p, err := s.arrive(ctx, sb, arrival{kernels: s.record().Kernels, pending: pending})
	if err != nil {
		return nil, err
	}
	s.seatAll(p)
	return p.known, nil
}

func (s *Session) kernelOptions(p *place, id cellhold.KernelID, pending []cellhold.Cell) kernel.Options {
	return kernel.Options{
		ID: id, Session: s.id, Boot: p.boot, Link: p.client.Kernel(id), Log: s.log, Journal: s.m.o.Store,
		Logger: s.slog, Pending: pending,
		OOMKills: func(ctx context.Context) (int64, error) {
			u, err := p.sandbox.Usage(ctx)
			return u.OOMKills, err
		},
		Memory:  p.peaks,
		Mirror:  func(ctx context.Context) error { return s.pull(ctx, p.client) },
		Updates: s.displays.Update,
		Record: func(ctx context.Context, c cellhold.CellID) (cellhold.Cell, error) {
			return s.m.o.Store.Cell(ctx, s.id, c)
		},
		Refold:  func(ctx context.Context) error { return s.refold(ctx, s.log.Last(), s.record().Undone) },
		Changed: s.notes.Want,
		Done:    func(cellhold.Cell) { s.touch() },
		Stuck: func(why string) {
			s.slog.Error("destroying a sandbox that does not answer", "why", why)
			p.why.Store(&why)
			s.m.destroy(s.ctx, p.sandbox) // watch sees its end
		},
	}
}

// dieRetry is how long the recording of a sandbox's end waits after a failure: a full disk.
const dieRetry = 2 * time.Second

// watch waits for the end of a sandbox and ends what was in it.
func (s *Session) watch(ctx context.Context, p *place) {
	exit, err := p.sandbox.Wait(ctx)
	if err != nil {
		return // detached
	}
	s.mu.Lock()
	departed := s.place != p
	p.ended = true
	s.mu.Unlock()
	if departed {
		return
	}
	status, detail := cellhold.StatusLost, "The sandbox ended unexpectedly."
	if exit.OOM {
		status, detail = cellhold.StatusOOM, "The sandbox used more memory than the session may have, and was killed."
	}
	if why := p.why.Load(); why != nil {
		detail = "The sandbox was destroyed, because " + *why + "."
	}
	s.slog.Warn("sandbox ended", "sandbox", p.sandbox.ID(), "code", exit.Code, "signal", exit.Signal, "oom", exit.OOM, "message", exit.Message)
	// Until it is recorded, who waits for a cell goes on waiting, and no new sandbox takes the place.
	for err := s.dieAll(ctx, status, detail); err != nil; err = s.dieAll(ctx, status, detail) {
		s.slog.Error("recording the end of a sandbox", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(dieRetry):
		}
	}
	s.touch()
	s.mu.Lock()
	if s.place == p {
		s.place = nil
	}
	s.mu.Unlock()
	close(p.over)
	p.cancel()
	p.wg.Wait()
	p.client.Close()
	s.m.destroy(s.ctx, p.sandbox)
}

// detach lets go of the sandbox, which lives on, and returns it; nil when there is none.
func (s *Session) detach() sandbox.Sandbox {
	s.mu.Lock()
	p := s.place
	s.place = nil
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	p.quit()
	return p.sandbox
}

// close destroys the sandbox if there is one.
func (s *Session) close(ctx context.Context) {
	if sb := s.detach(); sb != nil {
		s.m.destroy(ctx, sb)
	}
}

func (s *Session) client() *guest.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place == nil {
		return nil
	}
	return s.place.client
}

// touch notes that the session was used just now, and that its notebook has changed.
func (s *Session) touch() {
	s.change(func(r *cellhold.Session) { r.Used = time.Now().UTC() })
	s.notes.Want()
}

// Info describes the session as it is now.
func (s *Session) Info() cellhold.Session {
	r := s.record()
	r.Kernels = s.Kernels()
	if r.State != cellhold.SessionEnded {
		r.Expires = s.m.o.expiry(r)
	}
	return r
}

// Cell returns one cell, with its outputs so far.
func (s *Session) Cell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	for _, k := range s.all() {
		if c, ok := k.Cell(id); ok {
			return c, nil
		}
	}
	return s.kept(ctx, id)
}

// kept returns a cell as it is recorded, if it is not undone.
func (s *Session) kept(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	for _, k := range s.all() { // first, because the record may get it in between
		if c, ok := k.Late(id); ok {
			return s.judged(c), nil
		}
	}
	c, err := s.m.o.Store.Cell(ctx, s.id, id)
	return s.judged(c), err
}

// judged says of a recorded cell whether a rollback has taken it back, and adds what came after its end.
func (s *Session) judged(c cellhold.Cell) cellhold.Cell {
	if k := s.kernel(c.Kernel); k != nil {
		if now, ok := k.Late(c.ID); ok {
			c = now
		}
	}
	c.Undone = slices.ContainsFunc(s.record().Undone, func(u cellhold.Undone) bool { return u.Has(c) })
	return c
}

// Wait waits until a cell is done. When ctx ends first it returns the cell as it is and ctx.Err().
func (s *Session) Wait(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	for _, k := range s.all() {
		if c, ok, err := k.Wait(ctx, id); ok {
			return c, err
		}
	}
	return s.kept(ctx, id)
}

// Watch yields the events after that number and what follows, until the session ends.
func (s *Session) Watch(ctx context.Context, after int64) iter.Seq2[cellhold.Event, error] {
	return s.log.Watch(ctx, after)
}

// Events returns at most limit events after that number, those that are there now.
func (s *Session) Events(ctx context.Context, after int64, limit int) ([]cellhold.Event, error) {
	evs := []cellhold.Event{}
	last := s.log.Last()
	if after >= last || limit <= 0 {
		return evs, nil
	}
	size := 0
	for ev, err := range s.log.Watch(ctx, after) {
		if err != nil {
			return evs, err
		}
		evs = append(evs, ev)
		size += len(ev.Content)
		if ev.Seq >= last || len(evs) >= limit || size >= maxPage {
			break
		}
	}
	return evs, nil
}

// maxPage bounds the contents of one page of events; a larger single event still comes.
const maxPage = 4 << 20

// Restart replaces the kernel process, or the whole sandbox with all its kernels when it is gone, and
// returns when the new kernel is idle. Variables are lost; the files in /mnt/data/output stay. A session
// that cannot be woken any more gets a new sandbox.
func (s *Session) Restart(ctx context.Context, id cellhold.KernelID) error {
	release, err := s.awake(ctx)
	if errors.Is(err, sandbox.ErrSnapshot) {
		return s.startAnew(ctx)
	}
	if err != nil {
		return err
	}
	defer release()
	k, err := s.usable(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.m.o.StartTimeout, errStartTimeout)
	defer cancel()
	s.change(func(r *cellhold.Session) { r.Used = time.Now().UTC() })
	s.mu.Lock()
	p := s.place
	s.mu.Unlock()
	if p != nil {
		err = k.Restart(ctx)
	}
	if p != nil && cellhold.KindOf(err) == cellhold.Unavailable {
		// That it does not answer may be the first sign of its end, which is on its way here then.
		select {
		case <-p.over:
		case <-time.After(endSeen):
		case <-ctx.Done():
		}
	}
	if s.client() == nil || cellhold.KindOf(err) == cellhold.NotFound { // no sandbox, or one without our kernel
		err = s.reopen(ctx)
	}
	if errors.Is(context.Cause(ctx), errStartTimeout) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel did not start within %s.", s.m.o.StartTimeout)
	}
	return err
}

// endSeen is how long the end of a sandbox that does not answer any more takes to be known: it is an
// event, and one entry in the store.
const endSeen = 2 * time.Second

// reopen gives the session a new sandbox in place of one that ended.
func (s *Session) reopen(ctx context.Context) error {
	s.close(ctx)
	if err := s.dieAll(ctx, cellhold.StatusLost, "The session got a new sandbox."); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The end of the old sandbox could not be recorded. Is the server's disk full?")
	}
	rec := s.change(func(r *cellhold.Session) { r.Sandbox, r.Packages = nextSandboxID(r.ID, r.Sandbox), nil })
	img, err := s.m.o.Images.Resolve(rec.Image)
	if err != nil {
		return err
	}
	s.rootfs = img.Rootfs
	if rec.State == cellhold.SessionHibernated {
		return s.open(ctx) // until that has succeeded, the record stays as it is
	}
	if err := s.m.o.Store.PutSession(ctx, rec); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be recorded. Is the server's disk full?")
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	// A ready sandbox has brought its id along. Unrecorded, it would be a stray to the next server.
	if err := s.m.o.Store.PutSession(ctx, s.record()); err != nil {
		s.close(ctx)
		return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be recorded. Is the server's disk full?")
	}
	return nil
}
