// Package agent serves kernels, commands and files below one directory to the host. It is the guest's end of the
// link.
//
// It keeps the events of kernels and commands until the host has acknowledged them. Its parts are packages: kernels
// run in package kernels, commands in package command, and egress proxies in package forward.
//
// It has no users, no queue of cells and no policy. It trusts the host and does not protect itself from it.
//
// Lock order: Agent.mu before the locks of the kernels.
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

	"cellhold"
	"cellhold/internal/agent/command"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/agent/upload"
	"cellhold/internal/guestapi"
)

// maxKernels bounds the kernels of one sandbox. Each kernel takes 50 MB or more.
const maxKernels = 16

// kernelID is the pattern of ids. An id that matches cannot be a path.
var kernelID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)

// errStopping is the error of requests that need a running agent.
var errStopping = cellhold.Errorf(cellhold.Conflict, "The agent is stopping.")

// Options configures an Agent.
type Options struct {
	Launcher kernels.Launcher // starts kernels; required
	Commands command.Options  // starts commands; its Spawner is required
	Output   string           // directory of the files; empty means guestapi.OutputDir
	UID, GID int              // owner of the files that the host writes; 0 leaves them as they are
	Own      []string         // directories whose owner becomes UID and GID at the start
	Port     int              // port of the session's egress proxy on the loopback; 0 means any
	Trust    string           // directory for certificate authorities, which every user can read; empty means that none can be added
	Etc      string           // directory whose hosts file gets the host name; empty changes no file
	Written  kernels.Written  // lists the files that cells wrote; nil lists none
	Files    http.Handler     // serves the routes below /v1/files; nil means that there are none
	Spool    int64            // bytes of events kept for each kernel; 0 means guestapi.SpoolBytes
	Saved    *Saved           // state of the agent that this one continues; nil means none
	Timing   kernels.Timing   // how long the agent waits for kernels and for the host; zero fields mean the defaults

	// Routes add the routes of other packages. problem answers with an error.
	Routes []func(mux *http.ServeMux, problem func(http.ResponseWriter, error))

	Logger *slog.Logger // nil discards
}

// errStopped is the reason for which the agent ends kernels when it stops.
var errStopped = errors.New("the agent stopped")

// Agent serves the kernels of one guest.
type Agent struct {
	options  Options
	files    *files
	commands *command.Commands
	ways     *ways
	ports    *ports

	kernelWork sync.WaitGroup // one goroutine per kernel

	renewing atomic.Bool // true during a renewal, when nothing can start

	mu      sync.Mutex
	boot    string
	ctx     context.Context // the context of Run; nil before and after Run
	kernels map[cellhold.KernelID]*kernels.Kernel
	ended   map[cellhold.KernelID]int64 // number of the last event of each removed kernel
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
	o.Timing = o.Timing.WithDefaults()
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
		kernels:  make(map[cellhold.KernelID]*kernels.Kernel),
		ended:    make(map[cellhold.KernelID]int64),
		ways:     &ways{port: o.Port, dir: o.Trust, open: make(map[string]*way)},
		ports:    newPorts(),
	}, nil
}

// Run serves the listener until the context ends or the listener fails, and then ends all kernels and
// commands. It can be called once.
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
		Handler:  upload.Handler(a.routes()),
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

// start starts a kernel and returns true. It returns false if a kernel with the id exists.
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
	if err := a.checkStart(); err != nil {
		return false, err
	}
	if len(a.kernels) >= maxKernels {
		return false, cellhold.Errorf(cellhold.Conflict, "The sandbox already has %d kernels; the limit is %d.", len(a.kernels), maxKernels)
	}
	// A new kernel with an old id continues the numbers of the old kernel. Otherwise the host would discard
	// its events as repeated ones.
	k := kernels.New(a.kernelOptions(), id, r, a.ended[id])
	a.kernels[id] = k
	k.Launch(a.ctx, &a.kernelWork)
	return true, nil
}

// kernelOptions returns the options of the agent's kernels.
func (a *Agent) kernelOptions() kernels.Options {
	return kernels.Options{
		Launcher:      a.options.Launcher,
		Timing:        a.options.Timing,
		Spool:         a.options.Spool,
		Logger:        a.options.Logger,
		Environment:   a.Environment,
		CheckStart:    a.checkStart,
		OutputChanged: a.files.changed,
		Written:       a.options.Written,
	}
}

// checkStart fails during a renewal, when nothing can start.
func (a *Agent) checkStart() error {
	if a.renewing.Load() {
		return errRenewing
	}
	return nil
}

// kernel returns a kernel by its id.
func (a *Agent) kernel(id cellhold.KernelID) (*kernels.Kernel, error) {
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
	k.Delete()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kernels[id] == k {
		delete(a.kernels, id)
		a.ended[id] = k.Events().Last()
	}
	return nil
}

func (a *Agent) info() guestapi.Info {
	a.mu.Lock()
	boot := a.boot
	a.mu.Unlock()
	info := guestapi.Info{Version: guestapi.Version, Boot: boot, Kernels: []guestapi.KernelInfo{}, Commands: a.commands.IDs()}
	for _, k := range a.all() {
		info.Kernels = append(info.Kernels, k.Info())
	}
	return info
}
