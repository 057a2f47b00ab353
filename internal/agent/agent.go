// Package agent serves kernels, commands and files below one directory to the host. It is the guest's end
// of the link.
//
// It starts kernels through a Launcher, turns their messages into numbered events, and keeps the events
// until the host has acknowledged them. It decides when a cell has ended: after the reply and the idle
// status, after the reply and a short wait, at the end of the process, or at the deadline. All messages of
// a kernel are hostile, because user code can forge every message. So a message can end only the cell that
// it answers, and only once. Deadlines come from the clock, and deaths from the process.
//
// It has no users, no queue of cells and no policy, and it does not restart a kernel that crashed. It
// trusts the host and does not protect itself from it.
//
// Locks: kernel.mu before spool.mu. Both are free while the agent sends to a kernel or waits for it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
	"cellhold/internal/agent/command"
	"cellhold/internal/guestapi"
)

// maxKernels bounds the kernels of one sandbox. Each kernel takes 50 MB or more.
const maxKernels = 16

// kernelID is the pattern of ids. An id that matches cannot be a path.
var kernelID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)

// errStopping is the error of requests that would outlive the agent.
var errStopping = cellhold.Errorf(cellhold.Conflict, "The agent is stopping.")

// Options configures an Agent.
type Options struct {
	Launcher Launcher        // starts kernels; required
	Commands command.Options // starts commands; its Spawner is required
	Output   string          // directory of the files; empty means guestapi.OutputDir
	UID, GID int             // owner of the files that the host writes; 0 leaves them as they are
	Own      []string        // directories that are given to UID and GID at the start
	Port     int             // port of the session's egress proxy on the loopback; 0 means any
	Trust    string          // directory for certificate authorities, which every user can read; empty means that none can be added
	Etc      string          // directory whose file hosts gets the host name; empty changes no file
	Written  Written         // lists the files that cells wrote; nil lists none
	Files    http.Handler    // answers below /v1/files; nil refuses them
	Spool    int64           // bytes of events kept for each kernel; 0 means guestapi.SpoolBytes
	Saved    *Saved          // state of the agent that this one continues; nil means none
	Timing   Timing          // waits for kernels; zero fields mean the defaults

	// Routes add the routes of other packages. problem answers with an error.
	Routes []func(mux *http.ServeMux, problem func(http.ResponseWriter, error))

	Logger *slog.Logger // nil discards
}

// Timing has the times that the agent waits for kernels and for the host.
type Timing struct {
	Start     time.Duration // from the launch of a kernel to the end of its startup code
	Idle      time.Duration // from the reply to the idle status
	Interrupt time.Duration // from an interrupt message to the interrupt signal
	Kill      time.Duration // from the interrupt signal to the kill, when the deadline has passed
	Shutdown  time.Duration // for an idle kernel that was asked to end
	Host      time.Duration // for a host that reads nothing, before output is dropped
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Start, 120*time.Second)   // a kernel needs 1 s, startup code that imports pandas and more up to 10 s on a busy host
	set(&t.Idle, 4*time.Second)      // nbclient waits as long; it is needed only when the idle status was lost
	set(&t.Interrupt, 2*time.Second) // the answer to the message takes 0.1 s, clean-up code of the cell longer
	set(&t.Kill, 3*time.Second)      // so a deadline is exceeded by at most 5 s
	set(&t.Host, 10*time.Second)     // enough for a server that restarts
	set(&t.Shutdown, 1*time.Second)  // a kernel ends within 0.15 s; a stuck kernel is killed
	return t
}

// Agent serves the kernels of one guest.
type Agent struct {
	options  Options
	files    *files
	commands *command.Commands
	ways     *ways

	kernelWork sync.WaitGroup // one goroutine per kernel

	renewing atomic.Bool // nothing can start

	mu      sync.Mutex
	boot    string
	ctx     context.Context // the context of Run; nil before and after Run
	kernels map[cellhold.KernelID]*kernel
	ended   map[cellhold.KernelID]int64 // number of the last event of kernels that were removed
}

// New returns an agent that does not serve yet.
func New(o Options) (*Agent, error) {
	if o.Launcher == nil {
		return nil, errors.New("agent: Options.Launcher is missing")
	}
	if o.Output == "" {
		o.Output = guestapi.OutputDir
	}
	if o.Spool <= 0 {
		o.Spool = guestapi.SpoolBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timing = o.Timing.withDefaults()
	o.Commands.Logger = o.Logger
	if o.Saved != nil {
		o.Commands.Saved = o.Saved.commands
	}
	commands, err := command.New(o.Commands)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return &Agent{
		commands: commands,
		options:  o,
		boot:     newBoot(),
		files:    &files{dir: o.Output, uid: o.UID, gid: o.GID},
		kernels:  make(map[cellhold.KernelID]*kernel),
		ended:    make(map[cellhold.KernelID]int64),
		ways:     &ways{port: o.Port, dir: o.Trust, open: make(map[string]*way)},
	}, nil
}

// Run serves the listener until the context ends or the listener fails, and then ends all kernels. It can
// be called once.
func (a *Agent) Run(ctx context.Context, ln net.Listener) error {
	if err := a.files.open(); err != nil {
		return err
	}
	defer a.files.close()
	if err := a.own(); err != nil {
		return err
	}
	a.nameHost()
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.ctx = ctx
	a.mu.Unlock()
	a.commands.Open(ctx)
	if a.options.Saved != nil {
		a.restore(ctx, a.options.Saved)
	}

	server := &http.Server{
		Handler:  a.routes(),
		ErrorLog: slog.NewLogLogger(a.options.Logger.Handler(), slog.LevelDebug),
	}
	var closer sync.WaitGroup
	closer.Go(func() {
		<-ctx.Done()
		server.Close()
	})
	err := server.Serve(ln)
	cancel(errStopped)
	closer.Wait()

	a.mu.Lock()
	a.ctx = nil
	a.mu.Unlock()
	a.commands.Close()
	a.kernelWork.Wait()
	a.ways.closeAll()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the host: %w", err)
}

// running returns the context of Run.
func (a *Agent) running() (context.Context, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil {
		return nil, errStopping
	}
	return a.ctx, nil
}

// own makes the user of the kernels the owner of directories that the image made as root.
func (a *Agent) own() error {
	if a.options.UID == 0 {
		return nil
	}
	for _, dir := range a.options.Own {
		if err := os.Chown(dir, a.options.UID, a.options.GID); err != nil {
			return fmt.Errorf("change the owner of a directory to the kernels' user: %w", err)
		}
	}
	return nil
}

// start starts a kernel unless a kernel with that id exists.
func (a *Agent) start(id cellhold.KernelID, r guestapi.StartKernel) (fresh bool, err error) {
	if !kernelID.MatchString(string(id)) {
		return false, cellhold.Errorf(cellhold.Invalid, "A kernel id is 1 to 40 letters, digits, '-' or '_'.")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kernels[id] != nil {
		return false, nil
	}
	if a.ctx == nil {
		return false, errStopping
	}
	if a.renewing.Load() {
		return false, errRenewing
	}
	if len(a.kernels) >= maxKernels {
		return false, cellhold.Errorf(cellhold.Conflict, "The sandbox already has %d kernels; the limit is %d.", len(a.kernels), maxKernels)
	}
	// A new kernel with an old id continues the numbers of the old kernel. Otherwise the host would take
	// its events for a replay.
	k := newKernel(a, id, r, a.ended[id])
	a.kernels[id] = k
	a.launch(a.ctx, k)
	return true, nil
}

// launch runs a kernel until its cancel is called or the context ends.
func (a *Agent) launch(ctx context.Context, k *kernel) {
	ctx, k.cancel = context.WithCancelCause(ctx)
	a.kernelWork.Go(func() { k.run(ctx) })
}

// kernel returns a kernel by its id.
func (a *Agent) kernel(id cellhold.KernelID) (*kernel, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.kernels[id]; k != nil {
		return k, nil
	}
	return nil, cellhold.Errorf(cellhold.NotFound, "Kernel %.40q not found.", id)
}

// remove ends a kernel and forgets it. The id is free again when remove returns.
func (a *Agent) remove(id cellhold.KernelID) error {
	k, err := a.kernel(id)
	if err != nil {
		return err
	}
	k.cancel(errDeleted)
	<-k.done
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kernels[id] == k {
		delete(a.kernels, id)
		a.ended[id] = k.events().Last()
	}
	return nil
}

func (a *Agent) info() guestapi.Info {
	a.mu.Lock()
	boot := a.boot
	a.mu.Unlock()
	info := guestapi.Info{Version: guestapi.Version, Boot: boot, Kernels: []guestapi.KernelInfo{}, Commands: a.commands.IDs()}
	for _, k := range a.all() {
		info.Kernels = append(info.Kernels, k.info())
	}
	return info
}
