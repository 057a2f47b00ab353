package embedded

import (
	"cellhold/internal/sandbox/embedded/cgroup"
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/embedded/runner"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// hasSysAdmin reports whether this process has CAP_SYS_ADMIN. In a container, root often lacks it.
func hasSysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// mapsIDs reports whether this process's user namespace contains the uids and gids of sandboxes. The host's namespace
// contains all ids; a container's may contain few.
func mapsIDs(base uint32) bool {
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(file)
		if err != nil || !coversIDs(string(b), uint64(base), idRange) {
			return false
		}
	}
	return true
}

// coversIDs reports whether one line of an id map contains count ids from base on. A line has the form "first-inside
// first-outside count".
func coversIDs(table string, base, count uint64) bool {
	for line := range strings.Lines(table) {
		var inside, outside, n uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &n); err != nil {
			return false
		}
		if inside <= base && base+count <= inside+n {
			return true
		}
	}
	return false
}

// tryUserNamespace starts the runner in a new user namespace, as an unprivileged server does for each sandbox.
func tryUserNamespace(runner string) error {
	cmd := exec.Command(runner, "--version")
	cmd.Args[0] = "runsc"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	inOwnNamespaces(cmd.SysProcAttr)
	return process.Children.Run(cmd)
}

// runnable returns an error if this process cannot execute the runner. If privileged is set, sandboxes have other uids,
// and all users must be able to execute the runner.
func runnable(runner string, privileged bool) error {
	info, err := os.Stat(runner)
	if err != nil {
		return err
	}
	shown := runner
	if target, err := os.Readlink(runner); err == nil { // the path of a descriptor does not name the file
		shown = target
	}
	if privileged && info.Mode().Perm()&0o001 == 0 {
		return fmt.Errorf("sandboxes cannot run %s; allow it with: chmod o+x %s", shown, shown)
	}
	if err := unix.Access(runner, unix.X_OK); err != nil {
		return fmt.Errorf("cannot run %s: %w; make the file executable, or choose a home on a disk that is mounted without noexec", shown, err)
	}
	return nil
}

// minSpace is enough for the writable layer of one session, if the layer has the default size.
const minSpace = 2 << 30

// minSnapshotSpace is enough for one snapshot of a session with the default memory limit.
const minSnapshotSpace = 1 << 30

// Check checks whether this host can run sandboxes. It returns one Finding for each check, with a fix for each problem.
// It also starts a tiny sandbox, saves it, and restores the snapshot in a second sandbox. If both sandboxes start, this
// host can run, save and restore sandboxes.
func Check(ctx context.Context, o Options) []Finding {
	namespaces := errNotTried // a runner that cannot be started shows nothing about namespaces
	if runnable(o.Runner, false) == nil {
		namespaces = tryUserNamespace(o.Runner) // before checkBoot, whose driver closes the runner
	}
	boots := checkBoot(ctx, o)
	_, limits := cgroup.Find(cgroup.Root)
	return append([]Finding{checkUser(o, limits), checkNamespaces(boots[0].OK, namespaces), checkCgroups(), checkSpace(o.Dir), checkSnapshotSpace(o)}, boots...)
}

// checkUser checks whether the server's user can give sandboxes their own uids and enforce their limits. limits is the
// reason why the server cannot enforce the limits, or nil.
func checkUser(o Options, limits error) Finding {
	base := cmp.Or(o.UIDBase, defaultUIDBase)
	return userFinding(os.Geteuid() == 0, hasSysAdmin(), mapsIDs(base), base, limits)
}

func userFinding(root, admin, ids bool, base uint32, limits error) Finding {
	f := Finding{Name: "user", OK: limits == nil, Detail: "the server runs as a plain user"}
	switch {
	case root && admin && ids:
		return Finding{Name: "user", OK: true, Detail: "the server runs as root"}
	case root:
		f.OK, f.Detail = false, "the server runs as root, but cannot give sandboxes their own uids: CAP_SYS_ADMIN is missing"
		if admin {
			f.Detail = fmt.Sprintf("the server runs as root, but its user namespace lacks the uids from %d on", base)
		}
		f.Fix = fmt.Sprintf("give the container CAP_SYS_ADMIN and the uids from %d on; or accept with --accept-missing-limits that sandboxes run under the server's uid", base)
	case f.OK:
		f.Detail += "; its delegated cgroups limit memory, CPU and processes"
	default:
		f.Detail += "; the limits of memory and CPU, and the host's limit of processes, are not enforced"
		f.Fix = "run the server as root, for example: sudo cellhold serve"
	}
	return f
}

// errNotTried says that this process did not try to create a user namespace.
var errNotTried = errors.New("not tried, because the runner cannot be started")

// checkNamespaces reports whether user namespaces can be created. started is true if a sandbox has started. err is the
// result of tryUserNamespace, or errNotTried.
func checkNamespaces(started bool, err error) Finding {
	f := Finding{Name: "user namespaces", OK: true, Detail: "user namespaces can be created"}
	switch {
	case started || err == nil:
	case errors.Is(err, errNotTried):
		f.Detail = err.Error()
	default:
		f.OK, f.Detail = false, fmt.Sprintf("cannot start a process in a new user namespace: %v", err)
		f.Fix = "allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000; in a container, also relax its seccomp profile"
	}
	return f
}

func checkCgroups() Finding {
	c, err := cgroup.Find(cgroup.Root)
	if err != nil {
		return Finding{
			Name: "cgroups", Detail: err.Error(),
			Fix: "run the server as root on a host with the memory, cpu, cpuset and pids controllers, and " + cgroup.Root + " mounted read-write; or delegate every controller to the server's user",
		}
	}
	version := "1, with the controllers memory, cpu, cpuset and pids"
	if c.V2 {
		version = "2, with the controllers memory, cpu and pids"
	}
	return Finding{Name: "cgroups", OK: true, Detail: "version " + version}
}

// freeAt returns the free bytes on the disk of a directory. at is dir, or its nearest parent if dir does
// not exist.
func freeAt(dir string) (free uint64, at string) {
	var fs unix.Statfs_t
	at = dir
	for unix.Statfs(at, &fs) != nil && at != filepath.Dir(at) {
		at = filepath.Dir(at) // at does not exist yet
	}
	return fs.Bavail * uint64(fs.Bsize), at
}

// checkSnapshotSpace checks that the disk has space for the snapshot of a session.
func checkSnapshotSpace(o Options) Finding {
	free, at := freeAt(o.snapshots())
	reserve := uint64(max(o.reserve(), 0))
	f := Finding{Name: "space for snapshots", OK: free >= reserve+minSnapshotSpace,
		Detail: fmt.Sprintf("%d MB are free at %s; snapshots leave %d MB free", free>>20, at, reserve>>20)}
	if !f.OK {
		f.Fix = fmt.Sprintf("end hibernated sessions, delete checkpoints, or free disk space until %d MB are free; until then sessions cannot be hibernated, forked or checkpointed",
			(reserve+minSnapshotSpace)>>20)
	}
	return f
}

func checkSpace(dir string) Finding {
	free, at := freeAt(dir)
	f := Finding{Name: "disk", OK: free >= minSpace, Detail: fmt.Sprintf("%d MB are free at %s", free>>20, at)}
	if !f.OK {
		f.Fix = fmt.Sprintf("free disk space, or move the home to a disk with %d MB free", minSpace>>20)
	}
	return f
}

// checkBoot starts a sandbox that contains only the agent, saves it, and restores the snapshot in a second sandbox.
func checkBoot(ctx context.Context, o Options) []Finding {
	starts := Finding{Name: "a sandbox starts", OK: true, Detail: "gVisor " + runner.Version + " runs on this host"}
	saves := Finding{Name: "a sandbox can be saved", OK: true, Detail: "a sandbox was saved and restored"}
	notSaved, err := tryBoot(ctx, o)
	switch {
	case err != nil:
		starts.OK, starts.Detail, starts.Fix = false, err.Error(), "fix the problems listed above; if there are none, the error says what the host refused"
		saves.OK, saves.Detail, saves.Fix = false, "no sandbox starts", "first fix the problem that keeps a sandbox from starting"
	case notSaved != nil:
		saves.OK, saves.Detail = false, notSaved.Error()
		saves.Fix = "fix the problems listed above; if there are none, the error says what the host refused. Until then sessions start cold, and cannot be hibernated, forked or rolled back"
	}
	return []Finding{starts, saves}
}

// tryBoot creates a sandbox, saves it, and restores the snapshot in a second sandbox. notSaved is the error of the save
// or of the restore. err is the error of another step.
func tryBoot(ctx context.Context, o Options) (notSaved, err error) {
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(o.Dir, ".check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	// Snapshots go into the temporary directory: a server never sees them, even if this process is killed.
	o.Snapshots, o.Reserve = filepath.Join(root, "snapshots"), -1
	d, err := New(o)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	s, err := tinySpec(filepath.Join(root, "rootfs"))
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(root, 0o711); err != nil {
		return nil, err
	}
	box, err := d.Create(ctx, s)
	if err != nil {
		return nil, err
	}
	notSaved = tryToSave(ctx, d, box, s)
	return notSaved, box.Destroy(ctx)
}

// tinySpec creates the directories of a minimal root file system. It returns the specification of a sandbox with it.
func tinySpec(rootfs string) (sandbox.Spec, error) {
	for _, dir := range []string{guestBinDir, guestData, "/workspace", "/home/user", "/tmp", "/run", "/dev/shm", "/proc", "/sys"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			return sandbox.Spec{}, err
		}
	}
	return sandbox.Spec{
		ID:     sandbox.ID(fmt.Sprintf("check-%d", os.Getpid())),
		Rootfs: rootfs,
		Limits: sandbox.Limits{Memory: 256 << 20, CPU: 1, Processes: 32, Disk: 16 << 20, Tmp: 16 << 20, Output: 16 << 20},
	}, nil
}

// tryToSave saves a sandbox and restores it in another one with the same specification.
func tryToSave(ctx context.Context, d *Driver, box sandbox.Sandbox, s sandbox.Spec) error {
	const name = "check"
	if err := box.Snapshot(ctx, name); err != nil {
		return err
	}
	s.ID, s.From = "saved-"+s.ID, name
	next, err := d.Create(ctx, s)
	if err == nil {
		err = next.Destroy(ctx)
	}
	return errors.Join(err, d.RemoveSnapshot(ctx, name))
}
