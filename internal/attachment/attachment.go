// Package attachment is one live sandbox of a session, with all that the server runs for it: the
// connection to the agent, the kernels, the commands, the files, the packages, the network access, and the
// copies of the output files.
//
// It knows no owners, no expiry and no records: package session decides when a sandbox is made, saved and
// destroyed, and calls of the API come in through Session.Enter.
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

// Journal keeps the cells, the commands and the events of sessions.
type Journal interface {
	kernel.Journal
	command.Journal
}

// Options says what an attachment works with. Session, Logger, Log, Journal and Mirror are required.
type Options struct {
	Session cellhold.SessionID
	Logger  *slog.Logger
	Log     *kernel.Log
	Journal Journal
	Mirror  *mirror.Mirror // copies the output files of the sandbox to the host

	Packages  *packages.Packages // nil: no packages can be installed
	Tally     *packages.Tally    // counts what the code of the session has asked for; required with Packages
	MaxUpload int64              // bytes of the longest upload

	CommandTimeout    time.Duration // of commands that name none
	MaxCommandTimeout time.Duration // the longest, and that of commands with a terminal that name none

	// Greeted returns a connection to the agent of a sandbox that has answered before, nil if there is none.
	// May be nil.
	Greeted func(sandbox.ID) (*guest.Client, guestapi.Info)

	Hooks
}

// Hooks are what an attachment tells its session. All but Enter may be nil. None may block, unless it takes
// a context.
type Hooks struct {
	// Enter keeps the session from being saved until leave is called. Code that asks for packages enters.
	Enter func(ctx context.Context) (leave func(), err error)
	// Used says that the session was used just now.
	Used func()
	// Changed says that the notebook is not what it was.
	Changed func()
	// Installed records packages that were changed, and locked those with their files.
	Installed func(ctx context.Context, a *Attachment, changes []cellhold.PackageChange, locked []cellhold.Package) error
	// Stuck says that the agent does not answer, and why. The sandbox must be destroyed.
	Stuck func(a *Attachment, why string)
	// Updates, Record and Refold are those of kernel.Options.
	Updates func(ctx context.Context, c record.Cell, updates []notebook.Update) int64
	Record  func(ctx context.Context, id cellhold.CellID) (record.Cell, error)
	Refold  func(ctx context.Context) error
}

// Attachment is one live sandbox. Its methods may be called from any goroutine.
type Attachment struct {
	o         Options
	sandbox   sandbox.Sandbox
	client    *guest.Client
	boot      string              // the boot id of the agent
	known     []cellhold.KernelID // kernels that the agent had when the server attached
	peaks     *peaks.Meter
	followers *Followers

	ctx    context.Context // of all that runs for it
	cancel context.CancelCauseFunc
	mu     sync.Mutex // guards the adding to wg against Close
	wg     sync.WaitGroup

	transfers  atomic.Int32  // uploads, downloads and watches under way
	moving     atomic.Int32  // those of them that are no watches, and installations
	installing chan struct{} // capacity 1: held while packages change
	destroyed  atomic.Pointer[string]
}

// Request says how the server attaches to a sandbox.
type Request struct {
	Kernels []cellhold.Kernel // of the session, in order
	Pending []record.Cell     // cells that were not done when an earlier server ended
	Before  *Followers        // followed the same kernels until now; may be nil
	Renew   bool              // several sandboxes continue from the same snapshot
}

// Attach connects to the agent of a sandbox. Nothing runs for it before Start. The caller must call Close,
// and owns the sandbox. base ends all that runs.
func Attach(ctx, base context.Context, sb sandbox.Sandbox, o Options, r Request) (*Attachment, error) {
	client, info, err := greet(ctx, sb, o, r.Renew)
	if err != nil {
		return nil, err
	}
	a := &Attachment{o: o, sandbox: sb, client: client, boot: info.Boot, peaks: peaks.New(sb), installing: make(chan struct{}, 1)}
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

// follow makes the followers of the kernels and the commands.
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
		f.add(k.ID, unserved(follower))
	}
	var err error
	f.commands, err = command.New(ctx, command.Options{Session: a.o.Session, Boot: info.Boot, Log: a.o.Log, Journal: a.o.Journal,
		Logger: a.o.Logger, Known: info.Commands, Done: a.changed, Link: a.client.Commands(), OOMKills: a.oomKills})
	return f, err
}

// Start lets kernels and commands run. It is called once.
func (a *Attachment) Start() {
	for _, k := range a.followers.Kernels() {
		a.serve(k)
	}
	a.wg.Go(func() { a.followers.commands.Run(a.ctx) })
}

// Run lets f run until the attachment is closed, which its context says. It is an error when the attachment
// is closed already.
func (a *Attachment) Run(f func(ctx context.Context)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return errors.New("the server has detached from the sandbox")
	}
	a.wg.Go(func() { f(a.ctx) })
	return nil
}

// Close ends all that runs for the sandbox, which is left as it is, and returns when it has ended. Watches
// of files end with reason, if it is not nil.
func (a *Attachment) Close(reason error) {
	a.mu.Lock()
	a.cancel(reason)
	a.mu.Unlock()
	a.wg.Wait()
	a.client.Close()
}

// Context returns the context of all that runs for the sandbox. It ends with Close.
func (a *Attachment) Context() context.Context { return a.ctx }

// Sandbox returns the sandbox. Its owner is the session.
func (a *Attachment) Sandbox() sandbox.Sandbox { return a.sandbox }

// Client returns the connection to the agent, which ends with Close.
func (a *Attachment) Client() *guest.Client { return a.client }

// Boot returns the boot id of the agent.
func (a *Attachment) Boot() string { return a.boot }

// Known returns the kernels that the agent had when the server attached.
func (a *Attachment) Known() []cellhold.KernelID { return a.known }

// Followers returns the kernels and commands.
func (a *Attachment) Followers() *Followers { return a.followers }

// Moving reports whether a file is moved or packages are changed.
func (a *Attachment) Moving() bool { return a.moving.Load() > 0 }

// Destroyed notes why the server destroys the sandbox, for End to say.
func (a *Attachment) Destroyed(why string) { a.destroyed.Store(&why) }

// End waits for the end of the sandbox. It returns how it ended, for cells and for people. An error says
// that ctx has ended first.
func (a *Attachment) End(ctx context.Context) (cellhold.CellStatus, string, error) {
	exit, err := a.sandbox.Wait(ctx)
	if err != nil {
		return "", "", err
	}
	status, detail := cellhold.StatusLost, "The sandbox ended unexpectedly."
	if exit.OOM {
		status, detail = cellhold.StatusOOM, "The sandbox used more memory than the session's limit and was killed."
	}
	if why := a.destroyed.Load(); why != nil {
		detail = "The sandbox was destroyed, because " + *why + "."
	}
	a.o.Logger.Warn("sandbox ended", "sandbox", a.sandbox.ID(), "code", exit.Code, "signal", exit.Signal, "oom", exit.OOM, "message", exit.Message)
	return status, detail, nil
}

// PullOutput copies the output files to the host.
func (a *Attachment) PullOutput(ctx context.Context) error { return a.o.Mirror.Pull(ctx, a.client) }

func (a *Attachment) oomKills(ctx context.Context) (int64, error) {
	u, err := a.sandbox.Usage(ctx)
	return u.OOMKills, err
}

func (a *Attachment) used() {
	if a.o.Used != nil {
		a.o.Used()
	}
}

// changed says that the session was used and that its notebook has changed.
func (a *Attachment) changed() {
	a.used()
	if a.o.Changed != nil {
		a.o.Changed()
	}
}

// greet connects to the agent of a sandbox and asks for its Info, unless that was done before.
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
		return nil, info, fmt.Errorf("asking the agent for its state: %w", err)
	}
	return client, info, nil
}
