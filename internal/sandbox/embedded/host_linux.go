package embedded

import (
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

// hasSysAdmin tells whether root here may do what root usually may; in a container, root often
// may not.
func hasSysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// mapsIDs tells whether this process's user namespace has the uids and gids that sandboxes are to
// run as. The host's has all; a container's may have few.
func mapsIDs(base uint32) bool {
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(file)
		if err != nil || !coversIDs(string(b), uint64(base), idRange) {
			return false
		}
	}
	return true
}

// coversIDs reads a map of lines "first-inside first-outside count".
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

// tryUserNamespace starts a process the way an unprivileged server starts sandboxes.
func tryUserNamespace() error {
	cmd := exec.Command(self, "--version")
	cmd.Args[0] = "runsc"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	inOwnNamespaces(cmd.SysProcAttr)
	return children.run(cmd)
}

// selfRunnable checks that sandboxes, which run as other uids, can execute this binary.
func selfRunnable(privileged bool) error {
	info, err := os.Stat(self)
	if err != nil {
		return err
	}
	if privileged && info.Mode().Perm()&0o001 == 0 {
		path, _ := os.Readlink(self)
		return fmt.Errorf("sandboxes cannot run this program; allow it with: chmod o+x %s", path)
	}
	return nil
}

// wantedSpace is one session's writable layer at its default size, with a little beside it.
const wantedSpace = 2 << 30

// wantedRoom is what a session at its default memory takes when it is saved, at the most.
const wantedRoom = 1 << 30

// Check looks at what this host offers sandboxes, up to starting a tiny one and saving it, and says what
// to do about each thing that is missing. Where a sandbox starts, nothing that sandboxes need is missing.
func Check(ctx context.Context, o Options) []Finding {
	boots := checkBoot(ctx, o)
	_, limits := findCgroups(cgroupRoot)
	return append([]Finding{checkUser(o, limits), checkNamespaces(boots[0].OK), checkCgroups(), checkSpace(o.Dir), checkRoom(o)}, boots...)
}

// checkUser says what depends on the user: whether sandboxes get uids of their own, and whether their limits
// are held. limits says why not.
func checkUser(o Options, limits error) Finding {
	base := cmp.Or(o.UIDBase, defaultUIDBase)
	return judgeUser(os.Geteuid() == 0, hasSysAdmin(), mapsIDs(base), base, limits)
}

func judgeUser(root, admin, ids bool, base uint32, limits error) Finding {
	f := Finding{Name: "user", OK: limits == nil, Detail: "the server runs as a plain user"}
	switch {
	case root && admin && ids:
		return Finding{Name: "user", OK: true, Detail: "the server runs as root"}
	case root:
		f.OK, f.Detail = false, "the server runs as root, but cannot give sandboxes another uid: without CAP_SYS_ADMIN"
		if admin {
			f.Detail = fmt.Sprintf("the server runs as root, but its user namespace lacks the uids from %d on", base)
		}
		f.Fix = "give the container CAP_SYS_ADMIN and these uids, or accept that sandboxes run under the server's own uid"
	case f.OK:
		f.Detail += ", and the cgroups that it was given hold memory, CPU and processes"
	default:
		f.Detail += ": memory, CPU and the host's process limit are not held"
		f.Fix = "run the server as root, for example: sudo cellhold serve"
	}
	return f
}

// checkNamespaces says whether sandboxes can have user namespaces. Started says that one has had its own.
func checkNamespaces(started bool) Finding {
	if started {
		return Finding{Name: "user namespaces", OK: true, Detail: "they can be made"}
	}
	if err := tryUserNamespace(); err != nil {
		return Finding{
			Name: "user namespaces", Detail: fmt.Sprintf("a process in a new user namespace cannot be started: %v", err),
			Fix: "allow them: sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000; in a container, also lift its seccomp profile",
		}
	}
	return Finding{Name: "user namespaces", OK: true, Detail: "they can be made"}
}

func checkCgroups() Finding {
	c, err := findCgroups(cgroupRoot)
	if err != nil {
		return Finding{
			Name: "cgroups", Detail: err.Error(),
			Fix: "run the server as root on a host with the memory, cpu, cpuset and pids controllers, and " + cgroupRoot + " mounted read-write; or delegate every controller to its user",
		}
	}
	version := "1, with memory, cpu, cpuset and pids"
	if c.v2 {
		version = "2, with memory, cpu and pids"
	}
	return Finding{Name: "cgroups", OK: true, Detail: "version " + version}
}

// freeAt is how many bytes are free where a directory is, or will be made; at says where that is.
func freeAt(dir string) (free uint64, at string) {
	var fs unix.Statfs_t
	at = dir
	for unix.Statfs(at, &fs) != nil && at != filepath.Dir(at) {
		at = filepath.Dir(at) // not made yet
	}
	return fs.Bavail * uint64(fs.Bsize), at
}

// checkRoom looks whether a session can be saved as far as the disk goes.
func checkRoom(o Options) Finding {
	free, at := freeAt(o.snapshots())
	reserve := uint64(max(o.reserve(), 0))
	f := Finding{Name: "room for snapshots", OK: free >= reserve+wantedRoom,
		Detail: fmt.Sprintf("%d MB are free at %s, of which %d MB are never taken by snapshots", free>>20, at, reserve>>20)}
	if !f.OK {
		f.Fix = fmt.Sprintf("end sessions that sleep, delete checkpoints, or make room until %d MB are free; without it no session sleeps, is forked or gets a checkpoint",
			(reserve+wantedRoom)>>20)
	}
	return f
}

func checkSpace(dir string) Finding {
	free, at := freeAt(dir)
	f := Finding{Name: "disk", OK: free >= wantedSpace, Detail: fmt.Sprintf("%d MB are free at %s", free>>20, at)}
	if !f.OK {
		f.Fix = fmt.Sprintf("make room, or move the state directory to a disk with %d MB free", wantedSpace>>20)
	}
	return f
}

// checkBoot starts a sandbox with nothing in it but the agent, saves it, and lets another one go on from
// what was saved.
func checkBoot(ctx context.Context, o Options) []Finding {
	starts := Finding{Name: "a sandbox starts", OK: true, Detail: "gVisor " + pinnedGvisor + " runs on this host"}
	saves := Finding{Name: "a sandbox can be saved", OK: true, Detail: "one went on from what was saved of another"}
	notSaved, err := tryBoot(ctx, o)
	switch {
	case err != nil:
		starts.OK, starts.Detail, starts.Fix = false, err.Error(), "mend what is listed above; if nothing is, the error says what the host refused"
		saves.OK, saves.Detail, saves.Fix = false, "none starts that could be saved", "mend that first"
	case notSaved != nil:
		saves.OK, saves.Detail = false, notSaved.Error()
		saves.Fix = "mend what is listed above; if nothing is, the error says what the host refused. Until then sessions start cold, and cannot sleep, be forked or go back"
	}
	return []Finding{starts, saves}
}

// tryBoot makes a sandbox. Its first result says why it could not be saved.
func tryBoot(ctx context.Context, o Options) (notSaved, err error) {
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(o.Dir, ".check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	// What is saved here is never among what a server keeps, also if nobody lives to remove it.
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

// tinySpec makes files for a sandbox of the smallest sort.
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

// tryToSave saves a sandbox, and lets another one of that specification go on from there.
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
