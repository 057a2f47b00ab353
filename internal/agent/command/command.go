// Package command runs commands in the guest: programs beside the kernels, with streams, standard
// input and signals, or with a terminal.
//
// What they write becomes numbered events in one spool. A command whose output nobody takes waits,
// as it would behind any pipe, but not for ever: after a while its output is dropped, counted and
// reported. A command is over when its process has ended and what it wrote has been read. Processes
// that it leaves behind live on, and what they write then is nobody's; but a deadline, or being
// killed by the host, ends all of them. Deadlines are kept here, so that they hold also while no
// server runs.
//
// It refuses to queue, to restart and to decide who may run what. It trusts the host and does not
// protect itself from it.
//
// Locks: Commands.mu before that of the spool; input.mu stands alone. None is held while anything is
// waited for but the start of a process.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// Exit statuses of commands that could not be started, as shells give them.
const (
	exitCannot   = 126
	exitNotFound = 127
	exitSignal   = 128 // and the number of the signal
)

const (
	// maxKept bounds the commands that run or whose end the host has not acknowledged yet.
	maxKept = 8 * guestapi.MaxCommands
	// maxRecent is how many ids of commands that are over are remembered: a host that repeats a
	// request does so within seconds.
	maxRecent = 256
)

// validID keeps an id from being anything but a name: it is written into events as it is.
var validID = regexp.MustCompile(`^[A-Za-z0-9]{1,40}$`)

// Spec says what to start.
type Spec struct {
	ID cellhold.CommandID
	guestapi.StartCommand
}

// Spawner starts processes.
type Spawner interface {
	// Spawn starts a command. When it returns an error, nothing of the command is left; the error
	// is fs.ErrNotExist when the program is not there.
	Spawn(s Spec) (Process, error)
}

// Process is one process that was started. All methods may be called from any goroutine.
type Process interface {
	// Input is what the process reads. With a terminal, it is the same as the output. Closing
	// it ends a write that is under way.
	Input() io.WriteCloser

	// Outputs are what the process writes: stdout and stderr, or stdout alone with a terminal.
	// The caller closes them.
	Outputs() []Output

	// Done is closed when the process has ended.
	Done() <-chan struct{}

	// Exit says how it ended: its exit status, or the signal that ended it. It may be called
	// once Done is closed.
	Exit() (code int, sig syscall.Signal)

	// Signal sends a signal to its process group. One that has ended is no error.
	Signal(sig syscall.Signal) error

	// Resize sets the size of the terminal; there must be one.
	Resize(t cellhold.Terminal) error

	// Kill ends the process with everything it started, as far as that can be found, and returns
	// when Done is closed. It may be called again, also when the process has ended.
	Kill()
}

// Output is one stream that a process writes.
type Output struct {
	Name string // stdout or stderr
	Reader
}

// Reader is the reading end of a pipe or terminal.
type Reader interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// Options configures Commands.
type Options struct {
	Spawner Spawner      // required
	Spool   int64        // bytes of events kept; 0 means guestapi.CommandSpool
	Timing  Timing       // how long things may take; zero fields mean the defaults
	Saved   *Saved       // what to go on from; nil means nothing
	Logger  *slog.Logger // nil discards
}

// Timing is how long commands are waited for.
type Timing struct {
	Reader time.Duration // for somebody to take the output, before it is dropped
	Input  time.Duration // for the command to read its input, before a request for more is refused
	Term   time.Duration // from the signal at the deadline to the kill
	Quiet  time.Duration // without a word, after the process has ended, until its output counts as read
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Reader, 10*time.Second)      // a server restarts in that time
	set(&t.Input, 15*time.Second)       // less than the host waits for an answer
	set(&t.Term, 2*time.Second)         // for files and children to be put in order
	set(&t.Quiet, 250*time.Millisecond) // what was written is in the pipe; longer only when a child holds it open
	return t
}

// Commands are the commands of one guest.
type Commands struct {
	options Options
	work    sync.WaitGroup // goroutines of commands

	mu     sync.Mutex
	spool  *spool.Spool    // another one when it was renewed
	ctx    context.Context // between Open and Close
	end    context.CancelFunc
	byID   map[cellhold.CommandID]*command
	recent []cellhold.CommandID // over and acknowledged, oldest first
}

// New returns the commands of a guest, none yet.
func New(o Options) (*Commands, error) {
	if o.Spawner == nil {
		return nil, errors.New("command: Options.Spawner is missing")
	}
	if o.Spool <= 0 {
		o.Spool = guestapi.CommandSpool
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timing = o.Timing.withDefaults()
	c := &Commands{options: o, spool: spool.New(o.Spool, spool.Command), byID: make(map[cellhold.CommandID]*command)}
	if o.Saved != nil {
		c.goOn(o.Saved)
	}
	return c, nil
}

// Open lets commands be started until the context ends or Close is called.
func (c *Commands) Open(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.end = context.WithCancel(ctx)
}

// Close kills all commands and waits for them.
func (c *Commands) Close() {
	c.mu.Lock()
	if c.end != nil {
		c.end()
	}
	c.ctx = nil
	c.mu.Unlock()
	c.work.Wait()
	c.events().Close()
}

// Start starts a command. The same command again is no error and does nothing. That a program cannot
// be started is the end of the command and no error.
func (c *Commands) Start(id cellhold.CommandID, r guestapi.StartCommand) (fresh bool, err error) {
	if err := check(id, r); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[id] != nil || slices.Contains(c.recent, id) {
		return false, nil
	}
	if err := c.full(); err != nil {
		return false, err
	}
	x := &command{id: id, commands: c, terminal: r.Terminal != nil, exited: make(chan struct{})}
	c.byID[id] = x
	proc, err := c.options.Spawner.Spawn(Spec{ID: id, StartCommand: r})
	if err != nil {
		x.finish(failed(r, err))
		return true, nil
	}
	x.proc, x.input = proc, newInput(proc.Input(), x.terminal)
	ctx := c.ctx
	c.work.Go(func() { x.run(ctx, r.Timeout) })
	return true, nil
}

// full says why no more commands can be started. The caller holds mu.
func (c *Commands) full() error {
	if c.ctx == nil || c.ctx.Err() != nil {
		return cellhold.Errorf(cellhold.Conflict, "The agent is stopping.")
	}
	running := 0
	for _, x := range c.byID {
		if x.last == 0 {
			running++
		}
	}
	if running >= guestapi.MaxCommands || len(c.byID) >= maxKept {
		return cellhold.Errorf(cellhold.Conflict, "There are %d commands already, which is the most.", len(c.byID))
	}
	return nil
}

func check(id cellhold.CommandID, r guestapi.StartCommand) error {
	size, count := len(r.Line), len(r.Args)+len(r.Env)
	long := len(r.Line) > guestapi.MaxArg
	for _, a := range r.Args {
		size += len(a)
		long = long || len(a) > guestapi.MaxArg || strings.ContainsRune(a, 0)
	}
	for name, value := range r.Env {
		size += len(name) + len(value) + 1
		long = long || len(name)+len(value) >= guestapi.MaxArg || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0)
	}
	switch {
	case !validID.MatchString(string(id)):
		return cellhold.Errorf(cellhold.Invalid, "A command id is 1 to 40 letters or digits.")
	case (r.Line == "") == (len(r.Args) == 0) || len(r.Args) > 0 && r.Args[0] == "":
		return cellhold.Errorf(cellhold.Invalid, "A command is either one line or a program with its arguments.")
	case long || size > guestapi.MaxArgs || count > guestapi.MaxArgCount || strings.ContainsRune(r.Line+r.Dir, 0) || len(r.Dir) > guestapi.MaxArg:
		return cellhold.Errorf(cellhold.Invalid, "An argument or variable is too long or has a zero byte, or there are too many.")
	case r.Timeout <= 0:
		return cellhold.Errorf(cellhold.Invalid, "The timeout must be positive.")
	}
	return nil
}

// failed says how a command ended that could not be started.
func failed(r guestapi.StartCommand, err error) cellhold.CommandDoneContent {
	d := cellhold.CommandDoneContent{Status: cellhold.CommandExit, Code: exitCannot}
	if errors.Is(err, fs.ErrNotExist) {
		d.Code = exitNotFound
	}
	d.Cause = fmt.Sprintf("It could not be started: %v.", err)
	if info, failed := os.Stat(r.Dir); r.Dir != "" && (failed != nil || !info.IsDir()) {
		d.Code, d.Cause = exitCannot, fmt.Sprintf("It could not be started: there is no directory %s.", r.Dir)
	} else if r.Dir != "" {
		d.Cause = fmt.Sprintf("It could not be started in %s: %v.", r.Dir, err)
	}
	return d
}

// Still says which command runs, if any does.
func (c *Commands) Still() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.still()
}

func (c *Commands) still() error {
	for id, x := range c.byID {
		if x.last == 0 {
			return cellhold.Errorf(cellhold.Conflict, "Command %s runs.", id)
		}
	}
	return nil
}

// Renew forgets all commands, which must be over, and numbers events from 1 again.
func (c *Commands) Renew() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.still(); err != nil {
		return err
	}
	clear(c.byID)
	c.recent = nil
	c.spool.Close() // who reads it is of before
	c.spool = spool.New(c.options.Spool, spool.Command)
	return nil
}

// events are those that are kept now.
func (c *Commands) events() *spool.Spool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spool
}

// IDs are the commands that run or whose end has not been acknowledged.
func (c *Commands) IDs() []cellhold.CommandID {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := []cellhold.CommandID{}
	for id := range c.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// running finds a command that is not over.
func (c *Commands) running(id cellhold.CommandID) (*command, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.byID[id]
	if x == nil && !slices.Contains(c.recent, id) {
		return nil, cellhold.Errorf(cellhold.NotFound, "There is no command %.40q.", id)
	}
	if x == nil || x.last != 0 {
		return nil, errOver
	}
	return x, nil
}

var errOver = cellhold.Errorf(cellhold.Conflict, "The command has ended.")

// Input takes bytes of the command's standard input, and its end if eof is set. Those before offset
// count as the same that were taken before; a negative offset means the place after those. It
// returns how many bytes have been taken since the beginning.
func (c *Commands) Input(ctx context.Context, id cellhold.CommandID, body io.Reader, offset int64, eof bool) (int64, error) {
	x, err := c.running(id)
	if err != nil {
		return 0, err
	}
	return x.input.take(ctx, body, offset, eof, c.options.Timing.Input)
}

// Signal sends a signal to the process group of a command.
func (c *Commands) Signal(id cellhold.CommandID, sig syscall.Signal) error {
	x, err := c.running(id)
	if err != nil {
		return err
	}
	const most = 64 // the last real-time signal
	if sig < 1 || sig > most {
		return cellhold.Errorf(cellhold.Invalid, "There is no signal %d.", sig)
	}
	return x.proc.Signal(sig)
}

// Resize sets the size of a command's terminal.
func (c *Commands) Resize(id cellhold.CommandID, t cellhold.Terminal) error {
	x, err := c.running(id)
	if err != nil {
		return err
	}
	const most = 1<<16 - 1 // what the operating system can say
	if !x.terminal {
		return cellhold.Errorf(cellhold.Conflict, "The command has no terminal.")
	}
	if min(t.Rows, t.Cols) < 1 || max(t.Rows, t.Cols) > most {
		return cellhold.Errorf(cellhold.Invalid, "The size of the terminal is not possible.")
	}
	return x.proc.Resize(t)
}

// Kill ends a command with everything that it started. One that is over is no error.
func (c *Commands) Kill(id cellhold.CommandID) error {
	x, err := c.running(id)
	if errors.Is(err, errOver) {
		return nil
	}
	if err != nil {
		return err
	}
	x.proc.Kill()
	return nil
}

// Serve answers a request with the events of all commands after a number.
func (c *Commands) Serve(w http.ResponseWriter, r *http.Request, after int64) {
	c.events().Serve(w, r, after)
}

// Ack forgets the events up to that number, and the commands that ended there.
func (c *Commands) Ack(seq int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spool.Ack(seq)
	for id, x := range c.byID {
		if x.last != 0 && x.last <= seq {
			delete(c.byID, id)
			c.recent = append(c.recent, id)
		}
	}
	if over := len(c.recent) - maxRecent; over > 0 {
		c.recent = slices.Delete(c.recent, 0, over)
	}
}
