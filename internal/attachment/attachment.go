// Package attachment runs one live sandbox of a session: the connection to the agent, the kernels, the
// commands, the files, the packages, the network access, and the copies of the output files.
//
// It knows no owners, no expiry and no records. Package session decides when a sandbox is made, saved and
// destroyed. API calls reach it through Session.Enter.
package attachment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
	"cellhold/internal/attachment/peaks"
	"cellhold/internal/command"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/mirror"
	"cellhold/internal/notebook"
	"cellhold/internal/packages"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
)

// Journal stores the cells, the commands and the events of sessions.
type Journal interface {
	kernel.Journal
	command.Journal
}

// Options configures an attachment. Session, Logger, Log, Journal and Mirror are required.
type Options struct {
	Session cellhold.SessionID
	Logger  *slog.Logger
	Log     *kernel.Log
	Journal Journal
	Mirror  *mirror.Mirror // copies the output files of the sandbox to the host

	Packages  *packages.Packages // nil: no packages can be installed
	Tally     *packages.Tally    // counts the package requests of code; required with Packages
	MaxUpload int64              // maximum size of an upload in bytes

	CommandTimeout    time.Duration // default timeout of commands
	MaxCommandTimeout time.Duration // maximum timeout of commands, and default with a terminal

	// Greeted returns a connection to an agent that answered before, or nil. The field Greeted can be nil.
	Greeted func(sandbox.ID) (*guest.Client, guestapi.Info)

	Dir string            // working directory of the session, absolute; empty means /workspace
	Env map[string]string // added to the environment of all kernels and commands

	Hooks
}

// Hooks are the callbacks of an attachment to its session. Each of them can be nil. A hook without a context
// must not block.
type Hooks struct {
	// Enter prevents a save of the session until leave is called. Package requests of code call it.
	Enter func(ctx context.Context) (leave func(), err error)
	// Used reports that the session was used now.
	Used func()
	// Changed reports that the notebook changed.
	Changed func()
	// Installed records changed packages. locked has the installed packages with the digests of their files.
	Installed func(ctx context.Context, a *Attachment, changes []cellhold.PackageChange, locked []cellhold.Package) error
	// Stuck reports that the agent does not answer, or broke the protocol. The session must destroy the sandbox. End
	// then returns the reason.
	Stuck func(a *Attachment)
	// Updates, Record and Refold are passed to kernel.Options.
	Updates func(ctx context.Context, c record.Cell, updates []notebook.Update) int64
	Record  func(ctx context.Context, id cellhold.CellID) (record.Cell, error)
	Refold  func(ctx context.Context) error
}

// Attachment is one live sandbox. Its methods can be called from any goroutine.
type Attachment struct {
	o         Options
	sandbox   sandbox.Sandbox
	client    *guest.Client
	boot      string              // boot id of the agent
	version   int                 // of the agent's contract
	known     []cellhold.KernelID // kernels that the agent had when the server attached
	peaks     *peaks.Meter
	followers *Followers

	ctx    context.Context // context of the goroutines
	cancel context.CancelCauseFunc
	mu     sync.Mutex // guards wg.Go: no goroutine starts after Close
	wg     sync.WaitGroup

	transfers  atomic.Int32           // number of running uploads, downloads and watches
	moving     atomic.Int32           // number of running uploads, downloads and installations
	installing chan struct{}          // capacity 1: held during a change of packages
	ports      chan struct{}          // one token for each connection to a port
	destroyed  atomic.Pointer[string] // why the server destroys the sandbox; nil if it does not
}

// Request describes how to attach to a sandbox.
type Request struct {
	Kernels []cellhold.Kernel // kernels of the session, in order
	Pending []record.Cell     // cells that were not done when an earlier server ended
	Before  *Followers        // the previous followers of the same kernels; can be nil
	Renew   bool              // set if several sandboxes can continue from the same snapshot: see guestapi.Renew
}

// Attach connects to the agent of a sandbox. It starts no goroutines; Start does. The caller must call Close,
// and owns the sandbox. base ends the goroutines.
func Attach(ctx, base context.Context, sb sandbox.Sandbox, o Options, r Request) (*Attachment, error) {
	client, info, err := greet(ctx, sb, o, r.Renew)
	if err != nil {
		return nil, err
	}
	a := &Attachment{o: o, sandbox: sb, client: client, boot: info.Boot, version: info.Version, peaks: peaks.New(sb), installing: make(chan struct{}, 1),
		ports: make(chan struct{}, maxPortConns)}
	a.ctx, a.cancel = context.WithCancelCause(base)
	for _, k := range info.Kernels {
		a.known = append(a.known, k.ID)
	}
	if a.followers, err = a.follow(ctx, info, r); err != nil {
		a.Close(nil)
		return nil, err
	}
	return a, nil
}

// follow creates the followers of the kernels and the commands.
func (a *Attachment) follow(ctx context.Context, info guestapi.Info, r Request) (*Followers, error) {
	f := newFollowers()
	for _, k := range r.Kernels {
		o := a.kernelOptions(k.ID)
		o.Pending = cellsOf(r.Pending, k.ID)
		if before := r.Before.kernel(k.ID); before != nil {
			o.Before = before.Kernel
		}
		follower, err := kernel.New(ctx, o)
		if err != nil {
			return nil, err
		}
		f.add(k.ID, withoutGoroutine(follower))
	}
	var err error
	f.commands, err = command.New(ctx, command.Options{Session: a.o.Session, Boot: info.Boot, Log: a.o.Log, Journal: a.o.Journal,
		Logger: a.o.Logger, Known: info.Commands, Done: a.changed, Link: a.client.Commands(), OOMKills: a.oomKills, Stuck: a.stuck})
	return f, err
}

// Start starts the goroutines of the kernels and the commands, unless the attachment is closed already. The
// caller must call it once.
func (a *Attachment) Start() {
	a.mu.Lock() // otherwise Close could miss goroutines that start at the same time
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return
	}
	for _, k := range a.followers.Kernels() {
		a.serve(k)
	}
	a.wg.Go(func() { a.followers.commands.Run(a.ctx) })
}

// Run runs f in a goroutine until the attachment is closed; then f's context ends. It fails if the attachment
// is closed already.
func (a *Attachment) Run(f func(ctx context.Context)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return errors.New("the attachment is closed")
	}
	a.wg.Go(func() { f(a.ctx) })
	return nil
}

// Close stops the goroutines and waits for them. It does not change the sandbox. Watches of files end with
// reason, unless reason is nil.
func (a *Attachment) Close(reason error) {
	a.mu.Lock()
	a.cancel(reason)
	a.mu.Unlock()
	a.wg.Wait()
	a.client.Close()
}

// Context returns the context of the goroutines. It ends with Close.
func (a *Attachment) Context() context.Context { return a.ctx }

// Sandbox returns the sandbox. The session owns it.
func (a *Attachment) Sandbox() sandbox.Sandbox { return a.sandbox }

// Client returns the connection to the agent. It ends with Close.
func (a *Attachment) Client() *guest.Client { return a.client }

// Boot returns the boot id of the agent.
func (a *Attachment) Boot() string { return a.boot }

// Known returns the kernels that the agent had when the server attached.
func (a *Attachment) Known() []cellhold.KernelID { return a.known }

// Followers returns the kernels and commands.
func (a *Attachment) Followers() *Followers { return a.followers }

// Moving reports whether an upload, a download or an installation is running.
func (a *Attachment) Moving() bool { return a.moving.Load() > 0 }

// End waits for the end of the sandbox. It returns the status for the cells, and the reason as a sentence. If ctx
// ends first, it returns an error.
func (a *Attachment) End(ctx context.Context) (cellhold.CellStatus, string, error) {
	exit, err := a.sandbox.Wait(ctx)
	if err != nil {
		return "", "", err
	}
	status, detail := cellhold.StatusLost, "The sandbox ended unexpectedly."
	switch {
	case exit.OOM:
		status, detail = cellhold.StatusOOM, "The sandbox used more memory than the session's limit and was killed."
	case exit.FilesLost:
		detail = "The sandbox was ended, because its file proxy had ended."
	}
	if why := a.destroyed.Load(); why != nil {
		detail = "The sandbox was destroyed, because " + *why + "."
	}
	a.o.Logger.Warn("sandbox ended", "sandbox", a.sandbox.ID(), "code", exit.Code, "signal", exit.Signal, "oom", exit.OOM, "files_lost", exit.FilesLost, "message", exit.Message)
	return status, detail, nil
}

// PullOutput copies the output files to the host.
func (a *Attachment) PullOutput(ctx context.Context) error { return a.o.Mirror.Pull(ctx, a.client) }

// OOMKills returns the number of processes of the sandbox that the host has killed for lack of memory, or 0 if it is unknown.
func (a *Attachment) OOMKills(ctx context.Context) int64 {
	n, err := a.oomKills(ctx)
	if err != nil {
		return 0
	}
	return n
}

func (a *Attachment) oomKills(ctx context.Context) (int64, error) {
	u, err := a.sandbox.Usage(ctx)
	return u.OOMKills, err
}

func (a *Attachment) used() {
	if a.o.Used != nil {
		a.o.Used()
	}
}

// changed reports that the session was used and that its notebook changed.
func (a *Attachment) changed() {
	a.used()
	if a.o.Changed != nil {
		a.o.Changed()
	}
}

// greet connects to the agent of a sandbox and asks for its Info, unless Greeted has both.
func greet(ctx context.Context, sb sandbox.Sandbox, o Options, renew bool) (*guest.Client, guestapi.Info, error) {
	if o.Greeted != nil {
		if client, info := o.Greeted(sb.ID()); client != nil {
			return client, info, nil
		}
	}
	client, err := guest.New(guest.Options{Dial: sb.Dial, Logger: o.Logger})
	if err != nil {
		return nil, guestapi.Info{}, err
	}
	asking, cancel := context.WithTimeout(ctx, GreetTimeout)
	defer cancel()
	var info guestapi.Info
	if renew {
		info, err = client.Renew(asking, guestapi.Renew{Timeout: renewTimeout})
	} else {
		info, err = client.Info(asking)
	}
	if err != nil {
		client.Close()
		return nil, info, fmt.Errorf("ask the agent for its state: %w", err)
	}
	return client, info, nil
}
