package embedded

import (
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
// to do about each thing that is missing.
func Check(ctx context.Context, o Options) []Finding {
	findings := []Finding{checkUser(), checkNamespaces(), checkCgroups(), checkSpace(o.Dir), checkRoom(o)}
	return append(findings, checkBoot(ctx, o)...)
}

func checkUser() Finding {
	f := Finding{Name: "user", OK: os.Geteuid() == 0 && hasSysAdmin(), Detail: "the server runs as root"}
	switch {
	case f.OK:
	case os.Geteuid() == 0:
		f.Detail = "the server runs as root, but without CAP_SYS_ADMIN"
		f.Mend = "give the container CAP_SYS_ADMIN, or accept that sandboxes run under the server's own uid"
	default:
		f.Detail = "the server runs as a plain user: memory, CPU and the host's process limit are not held"
		f.Mend = "run the server as root, for example: sudo cellhold serve"
	}
	return f
}

func checkNamespaces() Finding {
	if err := tryUserNamespace(); err != nil {
		return Finding{
			Name: "user namespaces", Detail: fmt.Sprintf("a process in a new user namespace cannot be started: %v", err),
			Mend: "allow them: sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000; in a container, also lift its seccomp profile",
		}
	}
	return Finding{Name: "user namespaces", OK: true, Detail: "they can be made"}
}

func checkCgroups() Finding {
	c, err := findCgroups(cgroupRoot)
	if err != nil {
		return Finding{
			Name: "cgroups", Detail: err.Error(),
			Mend: "run the server as root on a host with the memory, cpu and pids controllers, and " + cgroupRoot + " mounted read-write",
		}
	}
	version := "1"
	if c.v2 {
		version = "2"
	}
	return Finding{Name: "cgroups", OK: true, Detail: "version " + version + ", with memory, cpu and pids"}
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
		f.Mend = fmt.Sprintf("end sessions that sleep, delete checkpoints, or make room until %d MB are free; without it no session sleeps, is forked or gets a checkpoint",
			(reserve+wantedRoom)>>20)
	}
	return f
}

func checkSpace(dir string) Finding {
	free, at := freeAt(dir)
	f := Finding{Name: "disk", OK: free >= wantedSpace, Detail: fmt.Sprintf("%d MB are free at %s", free>>20, at)}
	if !f.OK {
		f.Mend = fmt.Sprintf("make room, or move the state directory to a disk with %d MB free", wantedSpace>>20)
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
		starts.OK, starts.Detail, starts.Mend = false, err.Error(), "mend what is listed above; if nothing is, the error says what the host refused"
		saves.OK, saves.Detail, saves.Mend = false, "none starts that could be saved", "mend that first"
	case notSaved != nil:
		saves.OK, saves.Detail = false, notSaved.Error()
		saves.Mend = "mend what is listed above; if nothing is, the error says what the host refused. Until then sessions start cold, and cannot sleep, be forked or go back"
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
