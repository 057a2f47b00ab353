package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/command"
	"cellhold/internal/history"
	"cellhold/internal/kernel"
	"cellhold/internal/memory"
	"cellhold/internal/mirror"
	"cellhold/internal/packages"
	"cellhold/internal/record"
	"cellhold/internal/session/displays"
	"cellhold/internal/session/idle"
	"cellhold/internal/session/notes"
	"cellhold/internal/session/paths"
	"cellhold/internal/session/states"
	"cellhold/internal/wire"
)

// Session is one session. Its methods can be called from any goroutine.
type Session struct {
	env      *Environment
	id       cellhold.SessionID
	log      *kernel.Log
	slog     *slog.Logger
	states   *states.Machine
	history  *history.History
	notes    *notes.Notes
	mirror   *mirror.Mirror
	displays *displays.Displays
	idle     *idle.Timer
	wires    *wire.Hub

	tally    packages.Tally // counts the package requests of code, across all sandboxes; a rollback does not reset it
	keyed    sync.Mutex     // held while a cell with a key is searched and submitted
	expiring atomic.Bool    // Expire is running

	sandboxes sandboxes

	mu  sync.Mutex
	rec record.Session

	ctx    context.Context // context of the goroutines, from run to stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once // guards stop
}

// newSession returns a recorded session. The caller must call run, and stop at the end.
func newSession(env *Environment, rec record.Session, log *kernel.Log) *Session {
	l := env.Logger.With("session", rec.ID)
	s := &Session{env: env, id: rec.ID, rec: rec, log: log, slog: l, states: states.New(states.State(rec.State))}
	s.sandboxes.s = s
	s.idle = idle.New(subject{s}, env.times())
	s.history = history.New(history.Options{Session: rec.ID, Store: env.Store, Log: log, Record: s.Record, Logger: l,
		Followers: func() history.Followers { return s.sandboxes.following() }})
	s.notes = notes.New(s.HostFiles().writeNotebook, l)
	s.displays = displays.New(displays.Options{Cells: s.history.Cells, Logger: l,
		Put: env.Store.PutCell, Cell: s.sandboxes.storedCell})
	s.wires = wire.New(wireSession{s}, rec.Owner, log, l)
	s.mirror = mirror.New(env.Folders, paths.Output(env.Outputs, rec), string(rec.ID), rec.Limits.Output)
	return s
}

// run starts the session's own goroutines. base ends them.
func (s *Session) run(base context.Context) {
	s.ctx, s.cancel = context.WithCancel(base)
	s.env.Running.Add(1)
	s.wg.Go(func() { s.notes.Run(s.ctx) })
}

// stop ends the session's goroutines and waits for them. Watches of events end with err, or without an error if
// err is nil.
func (s *Session) stop(err error) {
	s.once.Do(func() {
		s.cancel()
		s.wires.Close(err)
		s.sandboxes.detach()
		s.wg.Wait()
		s.log.Close(err)
		s.env.Running.Done()
	})
}

// ID returns the id of the session.
func (s *Session) ID() cellhold.SessionID { return s.id }

// Record returns the present record.
func (s *Session) Record() record.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

// Info returns the session as callers see it.
func (s *Session) Info() cellhold.Session {
	rec := s.Record()
	r := rec.Session
	f := s.sandboxes.following()
	r.Kernels = []cellhold.Kernel{}
	for _, k := range rec.Kernels {
		if follower, err := f.Kernel(k.ID); err == nil {
			state := follower.State()
			state.Spec, state.Dir, state.Startup = k.Spec, k.Dir, k.Startup
			r.Kernels = append(r.Kernels, state)
		}
	}
	if r.State != cellhold.SessionEnded {
		r.Expires = s.idle.Expiry(rec)
	}
	return r
}

// History returns the history of the session.
func (s *Session) History() *history.History { return s.history }

// change changes the record in memory and returns the new record.
func (s *Session) change(f func(*record.Session)) record.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.rec)
	return s.rec
}

// use records that the session was used now.
func (s *Session) use() { s.change(func(r *record.Session) { r.Used = time.Now().UTC() }) }

// commit records a change of the session together with its event, both or none. f gets the number of the
// event. commit calls f twice: for the record in the store, and then for the record in memory.
func (s *Session) commit(ctx context.Context, ev record.Event, f func(r *record.Session, seq int64)) error {
	return s.log.AppendWith(ctx, []record.Event{ev}, func(ctx context.Context, evs []record.Event) error {
		rec := s.Record()
		f(&rec, evs[0].Seq)
		if err := s.env.Store.AppendSession(ctx, rec, evs); err != nil {
			return notRecorded(err)
		}
		s.change(func(r *record.Session) { f(r, evs[0].Seq) })
		return nil
	})
}

// notRecorded returns the error for a record that could not be written.
func notRecorded(err error) error {
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be recorded. Check the free space on the server's disk.")
}

// Enter returns the sandbox of the session for a call, and prevents a save of the session until leave is
// called. It first resumes a hibernated session, and waits while the session is being saved. If the session
// has no sandbox, the error is ErrNoSandbox, a Conflict.
func (s *Session) Enter(ctx context.Context) (a *attachment.Attachment, leave func(), err error) {
	leave, err = s.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	if l := s.sandboxes.current(); l != nil {
		s.use()
		return l.Attachment, leave, nil
	}
	leave()
	return nil, nil, ErrNoSandbox
}

// ErrNoSandbox is the error of calls that need a sandbox when the session has none.
var ErrNoSandbox = cellhold.Errorf(cellhold.Conflict, "The session's sandbox has ended, and its files are lost. Restart the kernel to get a new one.")

// StartCommand starts a command and returns it. If the session has no sandbox, the error is Unavailable.
func (s *Session) StartCommand(ctx context.Context, r attachment.CommandRequest) (cellhold.Command, error) {
	a, leave, err := s.Enter(ctx)
	if errors.Is(err, ErrNoSandbox) {
		return cellhold.Command{}, cellhold.Wrap(cellhold.Unavailable, err, "The command was not started: the session's sandbox has ended. Restart the kernel to get a new one.")
	}
	if err != nil {
		return cellhold.Command{}, err
	}
	defer leave()
	return a.StartCommand(ctx, r)
}

// Commands returns the runner of the commands, for a call on the command id. An unknown command is
// a NotFound error.
func (s *Session) Commands(ctx context.Context, id cellhold.CommandID) (*command.Runner, error) {
	if state := s.Record().State; state != cellhold.SessionReady && state != cellhold.SessionHibernated {
		return nil, cellhold.Errorf(cellhold.Conflict, "The request is not possible: the session is %s.", state)
	}
	r := s.sandboxes.following().Commands()
	if r == nil {
		return nil, cellhold.Errorf(cellhold.Unavailable, "The session has no sandbox now. Retry in a moment.")
	}
	if !r.Has(id) { // the command is done or unknown
		if _, err := s.env.Store.Command(ctx, s.id, id); err != nil {
			return nil, err
		}
	}
	s.use()
	return r, nil
}

// enter is like Enter, without a check of the sandbox.
func (s *Session) enter(ctx context.Context) (leave func(), err error) {
	if in, err := s.states.TryEnter(); in || err != nil {
		return s.states.Leave, err
	}
	turn, err := s.acquireReady(ctx, false)
	if err != nil {
		return nil, err
	}
	defer turn.Release()
	turn.Enter()
	return s.states.Leave, nil
}

// enterInOrder is like enter for calls whose order counts: calls that had to wait enter one after the other,
// in the order of their arrival.
func enterInOrder(ctx context.Context, s *Session) (leave func(), err error) {
	if in, err := s.states.TryEnter(); in || err != nil {
		return s.states.Leave, err
	}
	turn, err := s.acquireReady(ctx, false) // callers get the turn in order
	if err != nil {
		return nil, err
	}
	return turn.Release, nil
}

// acquireReady acquires the turn of a ready session. It first resumes a hibernated session. If only a request can
// resume it, asked must be set.
func (s *Session) acquireReady(ctx context.Context, asked bool) (*states.Turn, error) {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	switch state := turn.Settled(); state {
	case states.Ready:
	case states.Hibernated:
		if rec := s.Record(); !asked && rec.Resume == cellhold.ResumeOnRequest && rec.Paused(time.Now()) {
			err = cellhold.Errorf(cellhold.Conflict, "The session is hibernated, and only a request to resume it resumes it. Send that request first.")
		} else {
			err = s.resume(ctx, turn)
		}
	default:
		err = cellhold.Errorf(cellhold.Conflict, "The request is not possible: the session is %s.", state)
	}
	if err != nil {
		turn.Release()
		return nil, err
	}
	return turn, nil
}

// cleanupTimeout limits the work after a failure or a cancelled request. To destroy a sandbox with a fork bomb took 4 s.
const cleanupTimeout = 30 * time.Second

// cleanup returns a context with a deadline for work that must continue after ctx ended.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(detach(ctx), cleanupTimeout)
}

var errStartTimeout = errors.New("the start timed out")
var detach = memory.Detach // for work that continues after its caller left
