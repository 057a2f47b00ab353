package embedded

import (
	"bytes"
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
	"gvisor.dev/gvisor/runsc/container"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/shelf"
)

// innerID is every sandbox's name inside its own gVisor directory. gVisor finds containers by the
// beginning of their names; with one name per directory there is nothing to confuse.
const innerID = "s"

// errputSize bounds what is kept of gVisor's and the agent's standard error: the beginning, where
// the reason of a failed start is.
const errputSize = 64 << 10

// Create makes a sandbox with the agent running in it.
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
	from, a, err := d.origin(s)
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	defer from.Close()
	p := d.paths(s.ID)
	lock, err := d.claim(ctx, s.ID, p)
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	check := from.Check(ctx, s.Often) // beside the start, which waits for other things
	b, err := d.start(ctx, s, from, a, p, lock)
	if bad := check.Wait(); bad != nil && (err == nil || errors.Is(bad, sandbox.ErrSnapshot)) {
		if b != nil {
			bad = errors.Join(bad, b.letGoButLock())
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

// claim makes the sandbox's directory and takes its lock. What an earlier attempt left there, whose
// server must have died, is cleared away first.
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

// start takes the steps of a creation. A kill between any two of them leaves what clear removes.
func (d *Driver) start(ctx context.Context, s sandbox.Spec, from *shelf.Image, a agent, p paths, lock *ownership) (*box, error) {
	r := &record{
		ID: s.ID, Created: time.Now().UTC(), Image: s.Image, Labels: s.Labels,
		Spec: s, Needs: with(d.needs(s), a),
		Boot: bootID(),
	}
	r.Spec.Labels = nil
	if err := r.save(p); err != nil {
		return nil, err
	}
	if err := d.bundle(p, s, a); err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.disk, 0o700); err != nil {
		return nil, err
	}
	errput, err := newErrput()
	if err != nil {
		return nil, err
	}
	defer errput.Close()
	b, err := d.boot(ctx, s, from, r, p, lock, errput)
	if err != nil {
		return nil, fmt.Errorf("%w%s%s", err, excerpt(errput), panicked(p))
	}
	return b, nil
}

// boot starts the sandbox, checks it, and waits for its agent.
func (d *Driver) boot(ctx context.Context, s sandbox.Spec, from *shelf.Image, r *record, p paths, lock *ownership, errput *os.File) (*box, error) {
	if err := d.launch(ctx, s, from, p, errput); err != nil {
		return nil, err
	}
	from.Close()
	if err := d.identify(r, p); err != nil {
		return nil, err
	}
	if d.cgroups != nil {
		if err := d.cgroups.limitCPU(s.ID, s.Limits); err != nil {
			return nil, err
		}
		if err := d.cgroups.verify(s.ID, s.Limits, r.Sentry.PID, r.Gofer.PID); err != nil {
			return nil, fmt.Errorf("a limit is not in place: %w", err)
		}
	}
	if err := r.save(p); err != nil {
		return nil, err
	}
	b, err := d.take(r, p, lock)
	if err != nil {
		return nil, err
	}
	if err := b.settle(ctx); err != nil {
		if from != nil {
			err = b.broken(err)
		}
		return nil, errors.Join(err, b.letGoButLock())
	}
	return b, nil
}

// settle waits for the agent of a new sandbox.
func (b *box) settle(ctx context.Context) error {
	if _, err := b.attached(ctx); err != nil {
		return fmt.Errorf("the agent does not answer: %w", err)
	}
	if b.d.cgroups == nil {
		return nil
	}
	if err := b.d.cgroups.orderVictims(b.ID(), b.record); err != nil {
		return fmt.Errorf("arrange for running out of memory: %w", err)
	}
	return nil
}

// launch runs our own binary as runsc, which starts the sandbox and ends.
func (d *Driver) launch(ctx context.Context, s sandbox.Spec, from *shelf.Image, p paths, errput *os.File) error {
	// FIFOs, and not pipes or sockets, because a later server can open them again by name. The
	// sandbox gets each of them open for both reading and writing, so that the death of the
	// server is neither the end of its input nor a broken pipe.
	in, err := makeFIFO(p.in)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := makeFIFO(p.out)
	if err != nil {
		return err
	}
	defer out.Close()

	ctx, cancel := context.WithTimeoutCause(ctx, d.startTimeout, fmt.Errorf("gVisor did not start within %v", d.startTimeout))
	defer cancel()
	verb := []string{"run", "--detach", "--bundle", p.bundle, innerID}
	if from != nil {
		if err := refill(p.in, from.Dir); err != nil {
			return err
		}
		verb = []string{"restore", "--bundle", p.bundle, "--image", from.Dir, innerID}
	}
	cmd := d.runsc(ctx, p, append(d.gvisorFlags(s, p), verb...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errput
	if err := children.run(cmd); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("start gVisor: %w", d.blame(err, s.ID))
	}
	return nil
}

// runsc prepares to run our own binary under gVisor's name. It runs as a process of its own, and
// not in this one, because the sandbox inherits its standard streams, and because it moves itself
// through the sandbox's cgroups.
func (d *Driver) runsc(ctx context.Context, p paths, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, self, append([]string{"--root=" + p.gvisor}, args...)...)
	cmd.Args[0] = commandPrefix + strconv.Itoa(os.Getpid())
	cmd.Dir = "/"
	cmd.Env = []string{} // nothing of the server's environment reaches a sandbox process
	// Not in our process group: a Ctrl-C on the server's terminal is not for sandboxes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !d.privileged {
		inOwnNamespaces(cmd.SysProcAttr)
	}
	return cmd
}

// inOwnNamespaces makes an unprivileged user root in a namespace of its own, which is what gVisor
// needs to shut its processes in. Its own --rootless mode cannot be restored from checkpoints.
func inOwnNamespaces(a *syscall.SysProcAttr) {
	a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// gvisorFlags are those that differ from gVisor's defaults, and those defaults whose change would
// open a hole.
func (d *Driver) gvisorFlags(s sandbox.Spec, p paths) []string {
	flags := []string{
		"--platform=systrap",
		"--network=none",
		"--host-uds=none",
		"--host-fifo=none",
		"--file-access=exclusive", // the image does not change; shared makes stat 3.6 times slower
		fmt.Sprintf("--overlay2=root:dir=%s,size=%d", p.disk, s.Limits.Disk),
		// The default shares one network namespace between all gofers by a bind mount in the
		// gVisor directory, which would be left behind.
		"--gofer-network-namespace=new",
		"--host-settings=ignore", // advice for the administrator; costs time at every start
		"--panic-log=" + p.panics,
	}
	if d.cgroups == nil {
		flags = append(flags, "--ignore-cgroups")
	}
	return flags
}

// identify learns which processes gVisor started.
func (d *Driver) identify(r *record, p paths) error {
	id := container.FullID{SandboxID: innerID, ContainerID: innerID}
	c, err := container.Load(p.gvisor, id, container.LoadOpts{Exact: true, SkipCheck: true})
	if err != nil {
		return fmt.Errorf("read gVisor's state: %w", err)
	}
	for _, found := range []struct {
		pid int
		to  *process
	}{{c.Sandbox.Pid.Load(), &r.Sentry}, {c.GoferPid.Load(), &r.Gofer}} {
		if !isOurs(found.pid, p.gvisor) {
			return fmt.Errorf("process %d is not of this sandbox, or has ended", found.pid)
		}
		if *found.to, err = identify(found.pid); err != nil {
			return err
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

// newErrput makes a file in memory that cannot grow: the guest holds it as its standard error,
// for as long as it likes, without a reader on our side and without a way to fill the disk.
func newErrput() (*os.File, error) {
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make standard error: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stderr")
	err = f.Truncate(errputSize)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bound standard error: %w", err), f.Close())
	}
	return f, nil
}

// excerptSize is how much of a log an error quotes.
const excerptSize = 2 << 10

// excerpt quotes the beginning of a log that hostile code may have written.
func excerpt(f *os.File) string {
	buf := make([]byte, excerptSize)
	n, _ := f.ReadAt(buf, 0)
	text := strings.TrimSpace(string(bytes.TrimRight(buf[:n], "\x00")))
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (%s: %q)", filepath.Base(f.Name()), text)
}
