package session

import (
	"context"
	"iter"
	"path"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/guestapi"
)

// CommandStore keeps commands; see command.Journal for what that has of it.
type CommandStore interface {
	command.Journal
	// Command returns one command, a cellhold.NotFound error when there is none.
	Command(ctx context.Context, id cellhold.SessionID, c cellhold.CommandID) (cellhold.Command, error)
}

// CommandRequest asks for one command: a line for a shell, or a program with its arguments.
type CommandRequest struct {
	Line     string
	Args     []string
	Env      map[string]string // added to what every command gets; not recorded
	Dir      string            // zero means /workspace, and what is relative is below that
	Timeout  time.Duration     // zero means the server's default; with a terminal, the longest
	Terminal *cellhold.Terminal
}

// newCommands returns what follows the commands of a sandbox; without one, the commands of the session
// that are not done are ended as lost.
func (s *Session) newCommands(ctx context.Context, p *place, info guestapi.Info) (*command.Runner, error) {
	o := command.Options{Session: s.id, Boot: info.Boot, Log: s.log, Journal: s.m.o.Store, Logger: s.slog, Known: info.Commands,
		Done: s.touch}
	if p != nil {
		o.Link = p.client.Commands()
		o.OOMKills = func(ctx context.Context) (int64, error) {
			u, err := p.sandbox.Usage(ctx)
			return u.OOMKills, err
		}
	}
	return command.New(ctx, o)
}

// commandRunner returns what follows the commands of a session that is alive. When it sleeps, none run.
func (s *Session) commandRunner() (*command.Runner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.State != cellhold.SessionReady && s.rec.State != cellhold.SessionHibernated {
		return nil, cellhold.Errorf(cellhold.Conflict, "The session is %s.", s.rec.State)
	}
	if s.commands == nil {
		return nil, cellhold.Errorf(cellhold.Unavailable, "The session has no sandbox now. Try again in a moment.")
	}
	return s.commands, nil
}

// StartCommand starts a command and returns it. It runs also when the caller goes away.
func (s *Session) StartCommand(ctx context.Context, q CommandRequest) (cellhold.Command, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return cellhold.Command{}, err
	}
	defer leave()
	r, err := s.commandRunner()
	if err != nil {
		return cellhold.Command{}, err
	}
	if err := q.check(); err != nil {
		return cellhold.Command{}, err
	}
	if q.Timeout == 0 {
		q.Timeout = s.m.o.CellTimeout
		if q.Terminal != nil { // a person is at it
			q.Timeout = s.m.o.MaxCellTimeout
		}
	}
	if q.Timeout < 0 || q.Timeout > s.m.o.MaxCellTimeout {
		return cellhold.Command{}, cellhold.Errorf(cellhold.Invalid, "The timeout must be between 0 (the default) and %s.", s.m.o.MaxCellTimeout)
	}
	if q.Dir != "" && !path.IsAbs(q.Dir) { // below /workspace, as all relative paths are
		q.Dir = path.Join(guestapi.WorkDir, q.Dir)
	}
	s.use()
	return r.Start(ctx, cellhold.Command{ID: cellhold.NewCommandID(), Line: q.Line, Args: q.Args, Dir: q.Dir,
		Terminal: q.Terminal, Timeout: q.Timeout}, q.Env)
}

// check refuses what no sandbox could start.
func (q CommandRequest) check() error {
	if (q.Line == "") == (len(q.Args) == 0) || len(q.Args) > 0 && q.Args[0] == "" {
		return cellhold.Errorf(cellhold.Invalid, "Give either command, one line for a shell, or args, a program with its arguments.")
	}
	if strings.ContainsRune(q.Line+q.Dir, 0) {
		return errZeroByte
	}
	size, count := len(q.Line)+len(q.Dir), len(q.Args)+len(q.Env)
	longest := size
	for _, a := range q.Args {
		size, longest = size+len(a), max(longest, len(a))
		if strings.ContainsRune(a, 0) {
			return errZeroByte
		}
	}
	for name, value := range q.Env {
		n := len(name) + len(value) + 1
		size, longest = size+n, max(longest, n)
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return cellhold.Errorf(cellhold.Invalid, "The name of a variable is not empty, and has no = and no zero byte.")
		}
		if strings.ContainsRune(value, 0) {
			return errZeroByte
		}
	}
	if longest > guestapi.MaxArg || size > guestapi.MaxArgs || count > guestapi.MaxArgCount {
		return cellhold.Errorf(cellhold.Invalid, "The command is too long: one argument or variable may have %d bytes, all together %d, and there may be %d. Send more through its standard input.",
			guestapi.MaxArg, guestapi.MaxArgs, guestapi.MaxArgCount)
	}
	return nil
}

var errZeroByte = cellhold.Errorf(cellhold.Invalid, "A command, its arguments and its variables cannot have a zero byte.")

// use notes that the session was used just now.
func (s *Session) use() {
	s.change(func(rec *cellhold.Session) { rec.Used = time.Now().UTC() })
}

// Command returns one command, with the ends of its output so far.
func (s *Session) Command(ctx context.Context, id cellhold.CommandID) (cellhold.Command, error) {
	if r := s.currentCommands(); r != nil {
		if c, ok := r.Get(id); ok {
			return c, nil
		}
	}
	return s.m.o.Store.Command(ctx, s.id, id)
}

// Commands yields the commands in the order of their start.
func (s *Session) Commands(ctx context.Context) iter.Seq2[cellhold.Command, error] {
	return func(yield func(cellhold.Command, error) bool) {
		r := s.currentCommands()
		for c, err := range s.m.o.Store.Commands(ctx, s.id) {
			if r != nil && err == nil && c.State == cellhold.CommandRunning {
				if now, ok := r.Get(c.ID); ok {
					c = now
				}
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// WaitCommand waits until a command is done. When ctx ends first it returns the command as it is and
// ctx.Err().
func (s *Session) WaitCommand(ctx context.Context, id cellhold.CommandID) (cellhold.Command, error) {
	if r := s.currentCommands(); r != nil {
		if c, ok, err := r.Wait(ctx, id); ok {
			return c, err
		}
	}
	return s.m.o.Store.Command(ctx, s.id, id)
}

// WatchCommand yields the events of one command after that number and what follows, until the command
// is done. Numbers are those of the session, so they have gaps here.
func (s *Session) WatchCommand(ctx context.Context, id cellhold.CommandID, after int64) (iter.Seq2[cellhold.Event, error], error) {
	c, err := s.Command(ctx, id)
	if err != nil {
		return nil, err
	}
	return func(yield func(cellhold.Event, error) bool) {
		if c.Last > 0 && after >= c.Last {
			return
		}
		for ev, err := range s.log.Watch(ctx, max(after, c.First-1)) {
			if err == nil && ev.Command != id {
				continue
			}
			if !yield(ev, err) || ev.Type == cellhold.EventCommandDone {
				return
			}
		}
	}, nil
}

// CommandEvents returns at most limit events of a command after that number, those that are there now.
func (s *Session) CommandEvents(ctx context.Context, id cellhold.CommandID, after int64, limit int) ([]cellhold.Event, error) {
	c, err := s.Command(ctx, id)
	if err != nil {
		return nil, err
	}
	evs, size := []cellhold.Event{}, 0
	last := s.log.Last()
	if c.Last > 0 {
		last = c.Last
	}
	after = max(after, c.First-1)
	if after >= last {
		return evs, nil
	}
	for ev, err := range s.log.Watch(ctx, after) {
		if err != nil {
			return evs, err
		}
		if ev.Command == id {
			evs = append(evs, ev)
			size += len(ev.Content)
		}
		if ev.Seq >= last || len(evs) >= limit || size >= maxPage {
			break
		}
	}
	return evs, nil
}

// CommandInput passes on standard input that begins at offset, some of which may have been sent
// before; a negative offset means the place after all that was sent. It returns how much the command
// has been given since its beginning.
func (s *Session) CommandInput(ctx context.Context, id cellhold.CommandID, b []byte, offset int64, eof bool) (int64, error) {
	r, err := s.commandOf(ctx, id)
	if err != nil {
		return 0, err
	}
	s.use()
	return r.Input(ctx, id, b, offset, eof)
}

// SignalCommand sends a signal, by its name or number, to the process group of a command.
func (s *Session) SignalCommand(ctx context.Context, id cellhold.CommandID, name string) error {
	number := cellhold.SignalNumber(name)
	if number == 0 {
		return cellhold.Errorf(cellhold.Invalid, "There is no signal %.20q. Signals have names such as INT, TERM, KILL and HUP, or numbers.", name)
	}
	r, err := s.commandOf(ctx, id)
	if err != nil {
		return err
	}
	return r.Signal(ctx, id, number)
}

// ResizeCommand sets the size of a command's terminal.
func (s *Session) ResizeCommand(ctx context.Context, id cellhold.CommandID, t cellhold.Terminal) error {
	r, err := s.commandOf(ctx, id)
	if err != nil {
		return err
	}
	return r.Resize(ctx, id, t)
}

// EndCommand ends a command with all that it started, and returns when it is done. One that is done is
// no error.
func (s *Session) EndCommand(ctx context.Context, id cellhold.CommandID) error {
	c, err := s.Command(ctx, id)
	if err != nil || c.State == cellhold.CommandDone {
		return err
	}
	r, err := s.commandRunner()
	if err != nil {
		return err
	}
	return r.Kill(ctx, id)
}

// commandOf returns what follows a command that this session has.
func (s *Session) commandOf(ctx context.Context, id cellhold.CommandID) (*command.Runner, error) {
	r, err := s.commandRunner()
	if err != nil {
		return nil, err
	}
	if !r.Has(id) { // it is over, and the runner will say so, or never was
		if _, err := s.m.o.Store.Command(ctx, s.id, id); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s *Session) currentCommands() *command.Runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands
}

// endCommands ends the commands of a sandbox that has ended.
func (s *Session) endCommands(ctx context.Context, status cellhold.CellStatus, why string) error {
	r := s.currentCommands()
	if r == nil {
		return nil
	}
	as := cellhold.CommandLost
	if status == cellhold.StatusOOM {
		as = cellhold.CommandOOM
	}
	return r.Die(ctx, as, why)
}
