// Package command runs commands in the guest. A command is a program outside the kernels. It has standard
// input, output streams and signals, or a terminal.
//
// The output becomes numbered events in one spool. If the host does not read the output, the command waits,
// as it would with a pipe. After a timeout the output is dropped, counted and reported. A command has ended
// when its process has ended and its output was read. The processes that it started continue, and their later
// output is dropped. A deadline, or a kill by the host, ends them too. The agent keeps the deadlines, so that
// they also hold while no server runs.
//
// The package does not queue or restart commands, and does not check rights. It trusts the host and does not
// protect itself from it.
//
// Lock order: Commands.mu before the lock of the spool; input.mu is independent. No lock is held during a wait,
// except for the start of a process.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
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

// Exit statuses that shells also use.
const (
	exitCannot   = 126 // the program could not be started
	exitNotFound = 127 // the program does not exist
	exitSignal   = 128 // a signal ended the program; its number is added
)

const (
	// maxKept bounds the commands that run or whose end the host has not acknowledged yet.
	maxKept = 8 * guestapi.MaxCommands
	// maxRecent is the number of ended commands whose ids are remembered. With them, Start recognises a
	// repeated request. The host repeats a request within seconds.
	maxRecent = 256
)

// validID is the pattern of ids, which are written into events without escapes.
var validID = regexp.MustCompile(`^[A-Za-z0-9]{1,40}$`)

// Spec describes a command to start.
type Spec struct {
	ID cellhold.CommandID
	guestapi.StartCommand
}

// Spawner starts processes.
type Spawner interface {
	// Spawn starts a command. After an error, no process of the command remains. The error is fs.ErrNotExist
	// if the program does not exist, and ErrDir if the process cannot enter its directory.
	Spawn(s Spec) (Process, error)
}

// ErrDir says that a process cannot enter its directory.
var ErrDir = errors.New("enter the directory")

// Process is the process of a command. Its methods are safe for concurrent use.
type Process interface {
	// PID returns the id of the process in the sandbox.
	PID() int

	// Input returns the standard input of the process, or its terminal. Close ends a write in progress.
	Input() io.WriteCloser

	// Outputs returns stdout and stderr, or stdout alone with a terminal. The caller must close them.
	Outputs() []Output

	// Done returns a channel that is closed when the process has ended.
	Done() <-chan struct{}

	// Exit returns the exit status of the process, or the signal that ended it. It can be called after Done
	// is closed.
	Exit() (code int, sig syscall.Signal)

	// Signal sends a signal to the process group. If the process has ended, Signal returns no error.
	Signal(sig syscall.Signal) error

	// Resize sets the size of the terminal. The process must have one.
	Resize(t cellhold.Terminal) error

	// Kill ends the process and all descendants that can be found. It returns when Done is closed. It can be
	// called again, also after the end of the process.
	Kill()
}

// Output is one output stream of a process.
type Output struct {
	Name string // stdout or stderr
	Reader
}

// Reader is the read end of a pipe or terminal.
type Reader interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// Options configures Commands.
type Options struct {
	Spawner Spawner      // required
	Spool   int64        // bytes of events kept; 0 means guestapi.CommandSpool
	Timing  Timing       // waits; zero fields mean the defaults
	Saved   *Saved       // state that these commands continue; nil means none
	Logger  *slog.Logger // nil discards
}

// Timing has the timeouts of commands.
type Timing struct {
	Reader time.Duration // time for the host to read output; then output is dropped
	Input  time.Duration // time for the command to read its input; then further input is refused
	Term   time.Duration // time from SIGTERM at the deadline to the kill
	Quiet  time.Duration // time without output after the end of the process; then the output is complete
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Reader, 10*time.Second)      // enough for a server that restarts
	set(&t.Input, 15*time.Second)       // less than the host waits for an answer
	set(&t.Term, 2*time.Second)         // time to clean up files and children
	set(&t.Quiet, 250*time.Millisecond) // the output is in the pipe already; this time passes only when a child keeps the pipe open
	return t
}

// Commands are the commands of one guest.
type Commands struct {
	options Options
	work    sync.WaitGroup // goroutines of commands

	mu     sync.Mutex
	spool  *spool.Spool    // replaced by Renew
	ctx    context.Context // set between Open and Close
	end    context.CancelFunc
	byID   map[cellhold.CommandID]*command
	recent []cellhold.CommandID // ended and acknowledged, oldest first
}

// New returns Commands that continue Options.Saved, or that are empty.
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
		c.restore(o.Saved)
	}
	return c, nil
}

// Open allows commands to start until the context ends or Close is called.
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

// Start starts a command and returns true. If the same command was started before, Start does nothing and
// returns false. If the program cannot be started, the command ends with an exit status and Start returns no
// error.
func (c *Commands) Start(id cellhold.CommandID, r guestapi.StartCommand) (fresh bool, err error) {
	if err := check(id, r); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[id] != nil || slices.Contains(c.recent, id) {
		return false, nil
	}
	if err := c.checkLimits(); err != nil {
		return false, err
	}
	x := &command{id: id, commands: c, terminal: r.Terminal != nil, exited: make(chan struct{})}
	c.byID[id] = x
	proc, err := c.options.Spawner.Spawn(Spec{ID: id, StartCommand: r})
	if err != nil {
		x.finish(notStarted(r, err))
		return true, nil
	}
	x.proc, x.input = proc, newInput(proc.Input(), x.terminal)
	ctx := c.ctx
	c.work.Go(func() { x.run(ctx, r.Timeout) })
	return true, nil
}

// PID returns the process id of a command, or 0 if the command has no process or its end is acknowledged.
func (c *Commands) PID(id cellhold.CommandID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.byID[id]; x != nil && x.proc != nil {
		return x.proc.PID()
	}
	return 0
}

// checkLimits fails if no more commands can be started. The caller must hold mu.
func (c *Commands) checkLimits() error {
	if c.ctx == nil || c.ctx.Err() != nil {
		return cellhold.Errorf(cellhold.Conflict, "The agent is stopping.")
	}
	running := 0
	for _, x := range c.byID {
		if x.last == 0 {
			running++
		}
	}
	if running >= guestapi.MaxCommands {
		return cellhold.Errorf(cellhold.Conflict, "The sandbox already runs %d commands; the limit is %d.", running, guestapi.MaxCommands)
	}
	if len(c.byID) >= maxKept {
		return cellhold.Errorf(cellhold.Conflict, "The agent already keeps %d commands, running or not acknowledged; the limit is %d.", len(c.byID), maxKept)
	}
	return nil
}

// check checks a request to start a command.
func check(id cellhold.CommandID, r guestapi.StartCommand) error {
	size, count := len(r.Line), len(r.Args)+len(r.Env)
	invalid := len(r.Line) > guestapi.MaxArg
	for _, a := range r.Args {
		size += len(a)
		invalid = invalid || len(a) > guestapi.MaxArg || strings.ContainsRune(a, 0)
	}
	for name, value := range r.Env {
		size += len(name) + len(value) + 1
		invalid = invalid || len(name)+len(value) >= guestapi.MaxArg || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0)
	}
	switch {
	case !validID.MatchString(string(id)):
		return cellhold.Errorf(cellhold.Invalid, "A command id is 1 to 40 letters or digits.")
	case (r.Line == "") == (len(r.Args) == 0) || len(r.Args) > 0 && r.Args[0] == "":
		return cellhold.Errorf(cellhold.Invalid, "A command is either one line or a program with its arguments.")
	case invalid || size > guestapi.MaxArgs || count > guestapi.MaxArgCount || strings.ContainsRune(r.Line+r.Dir, 0) || len(r.Dir) > guestapi.MaxArg:
		return cellhold.Errorf(cellhold.Invalid, "An argument or variable is too long or contains a zero byte, or there are too many of them.")
	case r.Timeout <= 0:
		return cellhold.Errorf(cellhold.Invalid, "The timeout must be positive.")
	}
	return nil
}

// notStarted returns the result of a command that could not be started.
func notStarted(r guestapi.StartCommand, err error) cellhold.CommandDoneContent {
	d := cellhold.CommandDoneContent{Status: cellhold.CommandExit, Code: exitCannot}
	if errors.Is(err, fs.ErrNotExist) {
		d.Code = exitNotFound
	}
	d.Cause = fmt.Sprintf("The command could not be started: %v.", err)
	switch {
	case errors.Is(err, ErrDir) && errors.Is(err, fs.ErrNotExist):
		d.Code, d.Cause = exitCannot, fmt.Sprintf("The command could not be started: the directory %s does not exist.", r.Dir)
	case errors.Is(err, ErrDir):
		reason, _ := errors.AsType[syscall.Errno](err)
		d.Code, d.Cause = exitCannot, fmt.Sprintf("The command could not be started: its process cannot enter the directory %s: %v.", r.Dir, reason)
	case r.Dir != "":
		d.Cause = fmt.Sprintf("The command could not be started in %s: %v.", r.Dir, err)
	}
	return d
}

// CheckIdle fails if a command is running.
func (c *Commands) CheckIdle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checkIdle()
}

func (c *Commands) checkIdle() error {
	for id, x := range c.byID {
		if x.last == 0 {
			return cellhold.Errorf(cellhold.Conflict, "Command %s is running.", id)
		}
	}
	return nil
}

// Renew forgets all commands, and numbers events from 1 again. It fails if a command is running.
func (c *Commands) Renew() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkIdle(); err != nil {
		return err
	}
	clear(c.byID)
	c.recent = nil
	c.spool.Close() // ends its readers
	c.spool = spool.New(c.options.Spool, spool.Command)
	return nil
}

// events returns the current spool.
func (c *Commands) events() *spool.Spool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spool
}

// IDs returns the ids of all commands that run or whose end the host has not acknowledged.
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

// running returns a command that has not ended.
func (c *Commands) running(id cellhold.CommandID) (*command, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.byID[id]
	if x == nil && !slices.Contains(c.recent, id) {
		return nil, cellhold.Errorf(cellhold.NotFound, "Command %.40q not found.", id)
	}
	if x == nil || x.last != 0 {
		return nil, errEnded
	}
	return x, nil
}

var errEnded = cellhold.Errorf(cellhold.Conflict, "The command has ended.")

// Input adds the bytes of body to the command's standard input, and then ends the input if eof is set. offset is
// the position of the first byte since the start of the command. Bytes that were received already are skipped.
// A negative offset means the next position. Input returns the number of bytes received since the start.
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
	const last = 64 // the last real-time signal
	if sig < 1 || sig > last {
		return cellhold.Errorf(cellhold.Invalid, "Signal %d does not exist.", sig)
	}
	return x.proc.Signal(sig)
}

// Resize sets the size of a command's terminal.
func (c *Commands) Resize(id cellhold.CommandID, t cellhold.Terminal) error {
	x, err := c.running(id)
	if err != nil {
		return err
	}
	const limit = 1<<16 - 1 // the operating system stores 16 bits
	if !x.terminal {
		return cellhold.Errorf(cellhold.Conflict, "The command has no terminal.")
	}
	if min(t.Rows, t.Cols) < 1 || max(t.Rows, t.Cols) > limit {
		return cellhold.Errorf(cellhold.Invalid, "The rows and columns of a terminal must be between 1 and 65535.")
	}
	return x.proc.Resize(t)
}

// Kill ends a command and the processes that it started. If the command has ended, Kill returns no error.
func (c *Commands) Kill(id cellhold.CommandID) error {
	x, err := c.running(id)
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	x.proc.Kill()
	return nil
}

// Serve answers a request with the events of all commands. It begins after the event with the number after.
func (c *Commands) Serve(w http.ResponseWriter, r *http.Request, after int64) {
	c.events().Serve(w, r, after)
}

// Ack forgets the events up to seq, and the commands whose last event is among them.
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
