package embedded

import (
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/embedded/runner"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"cellhold/internal/link"
	"cellhold/internal/sandbox"
)

// box is one sandbox that this driver owns.
type box struct {
	d        *Driver
	paths    paths
	sentry   *process.Handle
	gofer    *process.Handle
	watch    sync.WaitGroup
	ended    chan struct{} // closed when exit is set
	detached chan struct{} // closed when the driver gives up the sandbox, which continues

	// stateMu serialises Pause, Resume, Snapshot, Destroy and detach.
	stateMu  sync.Mutex
	released bool
	lock     *ownership

	paused atomic.Bool

	// attaching is the lock of attached, so that only one call opens the link. A context can end the wait for it.
	attaching chan struct{}

	mu        sync.Mutex // guards the fields below
	record    *record
	link      *link.Host
	destroyed bool
	exit      sandbox.Exit
}

// take makes the sandbox of a record a sandbox of this driver and starts to watch it.
func (d *Driver) take(r *record, p paths, lock *ownership) (*box, error) {
	if !r.Sentry.Alive() {
		return nil, sandbox.ErrNotFound
	}
	sentry, err := r.Sentry.Open()
	if err != nil {
		return nil, err
	}
	if sentry == nil {
		return nil, sandbox.ErrNotFound
	}
	gofer, err := r.Gofer.Open()
	if err != nil {
		sentry.Close()
		return nil, err
	}
	b := &box{
		d: d, paths: p, record: r, lock: lock, sentry: sentry, gofer: gofer,
		ended: make(chan struct{}), detached: make(chan struct{}), attaching: make(chan struct{}, 1),
	}
	b.paused.Store(r.Paused)
	process.Children.Add(r.Sentry.PID)
	process.Children.Add(r.Gofer.PID)
	d.register(b)
	b.watch.Go(b.await)
	return b, nil
}

// Adopt takes over a running sandbox of a server that died.
func (d *Driver) Adopt(ctx context.Context, id sandbox.ID) (sandbox.Sandbox, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("adopt sandbox: %w", err)
	}
	b, err := d.adopt(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("adopt sandbox %s: %w", id, err)
	}
	return b, nil
}

func (d *Driver) adopt(ctx context.Context, id sandbox.ID) (*box, error) {
	p := d.paths(id)
	r, err := load(p)
	if notExist(err) {
		return nil, sandbox.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	lock, err := own(p)
	if err != nil {
		return nil, err
	}
	if r.Saving {
		r.Saving = false
		d.ensureRunning(ctx, r, p)
	}
	b, err := d.take(r, p, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if r.Paused {
		return b, nil // a paused sandbox cannot answer; the first Dial after Resume attaches
	}
	if _, err := b.attached(ctx); err != nil {
		return nil, errors.Join(err, b.detach())
	}
	return b, nil
}

func (b *box) ID() sandbox.ID { return b.record.ID }

// Dial opens a stream to the agent.
func (b *box) Dial(ctx context.Context) (net.Conn, error) {
	host, err := b.attached(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial sandbox %s: %w", b.ID(), err)
	}
	conn, err := host.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial sandbox %s: %w", b.ID(), err)
	}
	return conn, nil
}

// attached returns the link to the agent. It attaches if there is no link yet, or if the guest broke the link.
func (b *box) attached(ctx context.Context) (*link.Host, error) {
	select {
	case b.attaching <- struct{}{}:
		defer func() { <-b.attaching }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	host := b.link
	b.mu.Unlock()
	if host != nil {
		select {
		case <-host.Done():
			_ = host.Close()
		default:
			return host, nil
		}
	}
	select {
	case <-b.ended:
		return nil, sandbox.ErrNotFound
	case <-b.detached:
		return nil, net.ErrClosed
	default:
	}
	if b.paused.Load() {
		return nil, errors.New("the sandbox is paused and cannot answer")
	}
	host, err := b.attach(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.link = host
	return host, nil
}

// attach opens the host's ends of the FIFOs. They report the end of the sandbox.
func (b *box) attach(ctx context.Context) (*link.Host, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.d.startTimeout,
		fmt.Errorf("no answer within %v", b.d.startTimeout))
	defer cancel()
	// O_NONBLOCK, because opening a FIFO otherwise waits for the other end, and the other end may be dead.
	out, err := os.OpenFile(b.paths.out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	in, err := os.OpenFile(b.paths.in, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return link.Attach(ctx, out, in)
}

// Wait blocks until the sandbox has ended.
func (b *box) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-b.ended:
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.exit, nil
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("wait for sandbox %s: %w", b.ID(), context.Cause(ctx))
	}
}

// Usage returns the resources that the sandbox has used so far.
func (b *box) Usage(context.Context) (sandbox.Usage, error) {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released {
		return sandbox.Usage{}, fmt.Errorf("usage of sandbox %s: %w", b.ID(), sandbox.ErrNotFound)
	}
	return b.usage(), nil
}

func (b *box) usage() sandbox.Usage {
	if b.d.cgroups == nil {
		return sandbox.Usage{Memory: -1, MemoryPeak: -1, CPU: -1, OOMKills: -1}
	}
	return b.d.cgroups.Usage(b.ID())
}

// Peak returns the highest memory use since the last call with reset.
func (b *box) Peak(reset bool) (int64, error) {
	if b.d.cgroups == nil {
		return 0, errors.ErrUnsupported
	}
	return b.d.cgroups.Peak(b.ID(), reset)
}

// Pause stops all processes in the sandbox.
func (b *box) Pause(ctx context.Context) error { return b.setPaused(ctx, "pause", true) }

// Resume lets all processes in the sandbox continue.
func (b *box) Resume(ctx context.Context) error { return b.setPaused(ctx, "resume", false) }

func (b *box) setPaused(ctx context.Context, verb string, paused bool) error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released {
		return fmt.Errorf("%s sandbox %s: %w", verb, b.ID(), sandbox.ErrNotFound)
	}
	if b.paused.Load() == paused {
		return nil
	}
	if paused { // if this process is killed before it records the pause, the next server resumes the sandbox
		b.record.Saving = true
		if err := b.record.save(b.paths); err != nil {
			return err
		}
	}
	err := b.d.runCommand(ctx, b.record, b.paths, verb, runner.InnerID)
	b.record.Saving = false
	if err != nil {
		return errors.Join(fmt.Errorf("%s sandbox %s: %w", verb, b.ID(), err), b.record.save(b.paths))
	}
	b.paused.Store(paused)
	b.record.Paused = paused
	return b.record.save(b.paths)
}

// runCommand runs a gVisor command on a sandbox.
func (d *Driver) runCommand(ctx context.Context, r *record, p paths, args ...string) error {
	by, reason := d.runnerFor(r.Needs)
	if reason != "" {
		return errors.New(reason)
	}
	stderr, err := newStderr()
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd := d.command(ctx, by, p, args...)
	cmd.Stderr = stderr
	if err := process.Children.Run(cmd); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%w%s", err, excerpt(stderr))
	}
	return nil
}

// Destroy ends the sandbox and removes all its processes, mounts, cgroups and files.
func (b *box) Destroy(ctx context.Context) error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released {
		return nil
	}
	b.mu.Lock()
	b.destroyed = true
	b.mu.Unlock()
	if err := b.sentry.Kill(); err != nil && !b.hasEnded() {
		return fmt.Errorf("destroy sandbox %s: %w", b.ID(), err)
	}
	select {
	case <-b.ended:
	case <-ctx.Done():
		return fmt.Errorf("destroy sandbox %s: %w", b.ID(), context.Cause(ctx))
	}
	if err := b.d.clearEnded(ctx, b.ID(), b.paths); err != nil {
		return err
	}
	return errors.Join(b.release(), b.lock.Close())
}

func (b *box) hasEnded() bool {
	select {
	case <-b.ended:
		return true
	default:
		return false
	}
}

// detach gives up the sandbox without ending it.
func (b *box) detach() error { return errors.Join(b.detachKeepLock(), b.lock.Close()) }

// detachKeepLock stops everything that this driver does with the sandbox, and keeps the lock.
func (b *box) detachKeepLock() error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released {
		return nil
	}
	close(b.detached)
	b.sentry.Interrupt()
	if b.gofer != nil {
		b.gofer.Interrupt()
	}
	return b.release()
}

// release is the last step of Destroy and of detach. The caller must hold b.stateMu.
func (b *box) release() error {
	b.watch.Wait()
	b.released = true
	b.d.unregister(b)
	// Wait for a call of attached that opens the link.
	b.attaching <- struct{}{}
	defer func() { <-b.attaching }()
	b.mu.Lock()
	host := b.link
	b.link = nil
	b.mu.Unlock()
	if host == nil {
		return nil
	}
	return host.Close()
}
