package embedded

import (
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/embedded/runner"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"cellhold/internal/link"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/snapshots"
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
	released atomic.Bool // Destroy or detach is done; set with stateMu held
	lock     *ownership
	writer   *os.File // the writer of the agent's input in a private driver; else nil

	paused atomic.Bool

	// attaching is the lock of attached, so that only one call opens the link. A context can end the wait for it.
	// linkPace limits how often it opens the link; only the holder of the lock uses it.
	attaching chan struct{}
	linkPace  *rate.Limiter

	mu        sync.Mutex // guards the fields below
	record    *record
	link      *link.Host
	destroyed bool
	exit      sandbox.Exit
}

// linkRate and linkBurst limit how often the link of one sandbox is opened. An honest guest never breaks it. A hostile
// guest can break it at once, and each link takes memory for half a minute.
const (
	linkRate  = rate.Limit(0.5)
	linkBurst = 5
)

// errFilesLost says that programs in a sandbox cannot read the files of the host.
var errFilesLost = errors.New("the file proxy of the sandbox has ended")

// take makes the sandbox of a record a sandbox of this driver and starts to watch it. After an error, the caller still
// owns lock and writer.
func (d *Driver) take(r *record, p paths, lock *ownership, writer *os.File) (*box, error) {
	switch {
	case !r.Sentry.Alive():
		return nil, sandbox.ErrNotFound
	case !r.Gofer.Alive():
		return nil, errFilesLost
	}
	sentry, err := r.Sentry.Open()
	if err != nil {
		return nil, err
	}
	if sentry == nil {
		return nil, sandbox.ErrNotFound
	}
	gofer, err := r.Gofer.Open()
	if gofer == nil {
		sentry.Close()
		return nil, cmp.Or(err, errFilesLost)
	}
	b := &box{
		d: d, paths: p, record: r, lock: lock, writer: writer, sentry: sentry, gofer: gofer,
		ended: make(chan struct{}), detached: make(chan struct{}), attaching: make(chan struct{}, 1),
		linkPace: rate.NewLimiter(linkRate, linkBurst),
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
	b, err := d.take(r, p, lock, nil)
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
	ctx, cancel := b.untilDetached(ctx)
	defer cancel()
	if b.linkPace.Wait(ctx) != nil { // it ends early, without an error of the context, if the deadline is too near
		return nil, fmt.Errorf("the guest broke its link too often: %w", cmp.Or(context.Cause(ctx), context.DeadlineExceeded))
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

// untilDetached returns a context that also ends with the sandbox, and when the driver detaches from it. Otherwise a guest
// that does not answer could delay the end of the server.
func (b *box) untilDetached(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-b.detached:
			cancel(net.ErrClosed)
		case <-b.ended:
			cancel(sandbox.ErrNotFound)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
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
	if b.released.Load() { // without stateMu: a save of the sandbox must not delay callers that only read figures
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
func (b *box) Pause(ctx context.Context) error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released.Load() {
		return fmt.Errorf("pause sandbox %s: %w", b.ID(), sandbox.ErrNotFound)
	}
	if b.paused.Load() {
		return nil
	}
	b.record.Saving = true // if this process is killed before it records the pause, the next server resumes the sandbox
	err := b.record.save(b.paths)
	if err == nil {
		if err = b.d.runCommand(ctx, b.record, b.paths, "pause", runner.InnerID); err == nil {
			b.paused.Store(true)
			b.record.Paused = true
		} else {
			b.d.ensureRunning(ctx, b.record, b.paths) // a command that was killed can have paused it
		}
	}
	b.record.Saving = false
	if err = errors.Join(err, b.record.save(b.paths)); err != nil {
		return fmt.Errorf("pause sandbox %s: %w", b.ID(), spaceError(err))
	}
	return nil
}

// Resume lets all processes in the sandbox continue. A full disk does not prevent it: the record then says that the
// sandbox is paused, and the next server resumes it once more, which does no harm.
func (b *box) Resume(ctx context.Context) error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released.Load() {
		return fmt.Errorf("resume sandbox %s: %w", b.ID(), sandbox.ErrNotFound)
	}
	if !b.paused.Load() {
		return nil
	}
	if err := b.d.runCommand(ctx, b.record, b.paths, "resume", runner.InnerID); err != nil {
		return fmt.Errorf("resume sandbox %s: %w", b.ID(), err)
	}
	b.paused.Store(false)
	b.record.Paused, b.record.Saving = false, false
	if err := b.record.save(b.paths); err != nil {
		b.d.log.Warn("cannot record that a sandbox is resumed", "sandbox", string(b.ID()), "error", err)
	}
	return nil
}

// spaceError adds sandbox.ErrSpace to the error of a full disk or quota.
func spaceError(err error) error {
	if snapshots.IsFull(err) {
		return fmt.Errorf("%w: %w", sandbox.ErrSpace, err)
	}
	return err
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
	if b.released.Load() {
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

func (b *box) hasEnded() bool { return isClosed(b.ended) }

// detach gives up the sandbox without ending it.
func (b *box) detach() error { return errors.Join(b.detachKeepLock(), b.lock.Close()) }

// detachKeepLock stops everything that this driver does with the sandbox, and keeps the lock.
func (b *box) detachKeepLock() error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released.Load() {
		return nil
	}
	close(b.detached)
	b.sentry.Interrupt()
	b.gofer.Interrupt()
	return b.release()
}

// release is the last step of Destroy and of detach. The caller must hold b.stateMu.
func (b *box) release() error {
	b.watch.Wait()
	b.released.Store(true)
	b.writer.Close() // also if it is nil
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
