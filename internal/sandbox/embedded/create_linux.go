package embedded

import (
	"bytes"
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/embedded/runner"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/snapshots"
)

// stderrSize bounds the stored standard error of gVisor and the agent. The beginning is stored, because it has the
// reason of a failed start.
const stderrSize = 64 << 10

// Create creates a sandbox with a running agent.
func (d *Driver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	if err := d.checkSpec(s); err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	select {
	case d.creating <- struct{}{}:
		defer func() { <-d.creating }()
	case <-ctx.Done():
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, context.Cause(ctx))
	}
	from, on, err := d.origin(s)
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	defer from.Close()
	p := d.paths(s.ID)
	lock, err := d.claim(ctx, s.ID, p)
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	check := from.Check(ctx, s.Often) // at the same time as the start, which mostly waits
	b, err := d.start(ctx, s, from, on, p, lock)
	if bad := check.Wait(); bad != nil && (err == nil || errors.Is(bad, sandbox.ErrSnapshot)) {
		if b != nil {
			bad = errors.Join(bad, b.detachKeepLock())
		}
		err = fmt.Errorf("snapshot %s: %w", s.From, bad)
	}
	if err != nil {
		err = fmt.Errorf("create sandbox %s: %w", s.ID, err)
		err = errors.Join(err, d.clear(ctx, s.ID, p), lock.Close())
		return nil, err
	}
	return b, nil
}

// claim creates the sandbox's directory and takes its lock. It first removes the remains of an earlier attempt, whose
// server must have died.
func (d *Driver) claim(ctx context.Context, id sandbox.ID, p paths) (*ownership, error) {
	err := os.Mkdir(p.dir, 0o700)
	fresh := err == nil
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	lock, err := own(p)
	if err != nil || fresh {
		return lock, err
	}
	if err := errors.Join(d.clear(ctx, id, p), lock.Close()); err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	return own(p)
}

// start executes the steps of a creation. After a kill between two steps, clear removes what exists.
func (d *Driver) start(ctx context.Context, s sandbox.Spec, from *snapshots.Image, on programs, p paths, lock *ownership) (*box, error) {
	r := &record{
		ID: s.ID, Created: time.Now().UTC(), Image: s.Image, Labels: s.Labels,
		Spec: s, Needs: d.needs(s, on),
		Boot: bootID(),
	}
	r.Spec.Labels = nil
	if err := r.save(p); err != nil {
		return nil, err
	}
	if err := d.bundle(p, s, on.agent); err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.disk, 0o700); err != nil {
		return nil, err
	}
	stderr, err := newStderr()
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	b, err := d.boot(ctx, s, from, on.runner, r, p, lock, stderr)
	if err != nil {
		return nil, fmt.Errorf("%w%s%s", err, excerpt(stderr), panicMessage(p))
	}
	return b, nil
}

// boot starts the sandbox, checks it, and waits for its agent.
func (d *Driver) boot(ctx context.Context, s sandbox.Spec, from *snapshots.Image, by runnerBuild, r *record, p paths, lock *ownership, stderr *os.File) (*box, error) {
	writer, err := d.launch(ctx, s, from, by, p, stderr)
	if err != nil {
		return nil, err
	}
	from.Close()
	b, err := d.check(r, s, p, lock, writer)
	if err != nil {
		writer.Close() // also if it is nil
		return nil, err
	}
	if err := b.awaitAgent(ctx); err != nil {
		if from != nil {
			err = b.classifyEnd(err)
		}
		return nil, errors.Join(err, b.detachKeepLock())
	}
	return b, nil
}

// check checks a sandbox that has started, and takes it.
func (d *Driver) check(r *record, s sandbox.Spec, p paths, lock *ownership, writer *os.File) (*box, error) {
	if err := d.identify(r, p); err != nil {
		return nil, err
	}
	if d.cgroups != nil {
		if err := d.cgroups.LimitCPU(s.ID, s.Limits); err != nil {
			return nil, err
		}
		if err := d.cgroups.Verify(s.ID, s.Limits, r.Sentry.PID, r.Gofer.PID); err != nil {
			return nil, fmt.Errorf("a limit is not enforced: %w", err)
		}
	}
	if err := r.save(p); err != nil {
		return nil, err
	}
	return d.take(r, p, lock, writer)
}

// awaitAgent waits for the agent of a new sandbox.
func (b *box) awaitAgent(ctx context.Context) error {
	if _, err := b.attached(ctx); err != nil {
		return fmt.Errorf("the agent did not answer: %w", err)
	}
	if b.d.cgroups == nil {
		return nil
	}
	if err := b.d.cgroups.SetOOMScores(b.ID(), b.record.Sentry, b.record.Gofer, guestBinDir); err != nil {
		return fmt.Errorf("set the order of the OOM killer: %w", err)
	}
	return nil
}

// launch runs the runner, which starts the sandbox and exits. A private driver also gets the only writer of the agent's
// input, which the caller must close.
func (d *Driver) launch(ctx context.Context, s sandbox.Spec, from *snapshots.Image, by runnerBuild, p paths, stderr *os.File) (writer *os.File, err error) {
	// FIFOs, because a later server can open them again by name, unlike pipes or sockets. The sandbox opens each of
	// them for reading and writing. So if the server dies, the sandbox gets no end of file and no broken pipe. In a
	// private driver, the sandbox opens its input only for reading, and its agent ends at the end of the file.
	in, err := makeFIFO(p.in)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := makeFIFO(p.out)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if !d.private {
		return nil, d.run(ctx, s, from, by, p, in, out, stderr)
	}
	reader, writer, err := ends(p.in)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	if err := d.run(ctx, s, from, by, p, reader, out, stderr); err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	return writer, nil
}

// ends opens the two ends of a FIFO that is open already.
func ends(path string) (reader, writer *os.File, err error) {
	if reader, err = os.OpenFile(path, os.O_RDONLY, 0); err != nil {
		return nil, nil, err
	}
	if writer, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
		return nil, nil, errors.Join(err, reader.Close())
	}
	return reader, writer, nil
}

// run runs the runner with the standard streams of the sandbox.
func (d *Driver) run(ctx context.Context, s sandbox.Spec, from *snapshots.Image, by runnerBuild, p paths, in, out, stderr *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.startTimeout, fmt.Errorf("gVisor did not start within %v", d.startTimeout))
	defer cancel()
	verb := []string{"run", "--bundle", p.bundle, "--pids", p.pids}
	if from != nil {
		if err := runner.Refill(p.in, from.Dir); err != nil {
			return err
		}
		verb = []string{"restore", "--bundle", p.bundle, "--pids", p.pids, "--image", from.Dir}
	}
	cmd := d.command(ctx, by, p, append(d.gvisorFlags(s, p), verb...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, stderr
	if err := process.Children.Run(cmd); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("start gVisor: %w", d.classifyRestore(err, s.ID))
	}
	return nil
}

// command returns a command of a runner. The runner is a separate process, because the sandbox inherits its standard
// streams, and because the runner moves itself into the sandbox's cgroups.
func (d *Driver) command(ctx context.Context, by runnerBuild, p paths, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, by.path, append([]string{"--root=" + p.gvisor}, args...)...)
	cmd.Args[0] = runner.CommandPrefix + strconv.Itoa(os.Getpid())
	cmd.Dir = "/"
	cmd.Env = []string{runner.NoSidecars} // sandbox processes must not see the server's environment
	// A separate process group: Ctrl-C on the server's terminal must not reach sandboxes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !d.privileged {
		inOwnNamespaces(cmd.SysProcAttr)
	}
	return cmd
}

// inOwnNamespaces makes an unprivileged user root in a new user namespace. gVisor needs this to isolate its processes.
// gVisor's own --rootless mode cannot restore snapshots.
func inOwnNamespaces(a *syscall.SysProcAttr) {
	a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// gvisorFlags returns the flags that differ from gVisor's defaults, and the defaults that are needed for security.
func (d *Driver) gvisorFlags(s sandbox.Spec, p paths) []string {
	flags := []string{
		"--platform=systrap",
		"--network=none",
		"--host-uds=none",
		"--host-fifo=none",
		"--file-access=exclusive", // the image does not change; "shared" makes stat 3.6 times slower
		fmt.Sprintf("--overlay2=root:dir=%s,size=%d", p.disk, s.Limits.Disk),
		// The default shares one network namespace between all gofers with a bind mount in the gVisor directory. That
		// mount would stay behind.
		"--gofer-network-namespace=new",
		"--host-settings=ignore", // it only prints advice, and takes time at every start
		"--panic-log=" + p.panics,
	}
	if d.cgroups == nil {
		flags = append(flags, "--ignore-cgroups")
	}
	return flags
}

// identify records the processes that gVisor started.
func (d *Driver) identify(r *record, p paths) error {
	pids, err := runner.LoadPIDs(p.pids)
	if err != nil {
		return err
	}
	for _, found := range []struct {
		pid int
		to  *process.Process
	}{{pids.Sentry, &r.Sentry}, {pids.Gofer, &r.Gofer}} {
		if *found.to, err = process.Identify(found.pid); err != nil {
			return err
		}
		if !d.users().BelongsTo(found.pid, p.gvisor) { // after Identify, because the pid could have been reused before it
			return fmt.Errorf("process %d does not belong to this sandbox, or has ended", found.pid)
		}
	}
	return nil
}

func makeFIFO(path string) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make fifo %s: %w", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// newStderr returns a file in memory that cannot grow. The guest has it as its standard error: the file needs no reader
// on our side, and the guest cannot fill the disk with it.
func newStderr() (*os.File, error) {
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make standard error: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stderr")
	err = f.Truncate(stderrSize)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bound standard error: %w", err), f.Close())
	}
	return f, nil
}

// excerptSize is the number of bytes of a log that an error quotes.
const excerptSize = 2 << 10

// excerpt quotes the beginning of a log that may contain hostile text.
func excerpt(f *os.File) string {
	buf := make([]byte, excerptSize)
	n, _ := f.ReadAt(buf, 0)
	text := strings.TrimSpace(string(bytes.TrimRight(buf[:n], "\x00")))
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (%s: %q)", filepath.Base(f.Name()), text)
}
