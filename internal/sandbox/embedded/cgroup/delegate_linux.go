package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// leaf is the cgroup of the server itself in version 2. A cgroup that passes controllers on must have no processes of
	// its own (Linux, cgroup-v2, "No Internal Process Constraint"). In a container, the server starts in such a cgroup.
	leaf = "cellhold-server"
	// maxMoves bounds the passes in which processes are moved. Each pass moves what started during the last one.
	maxMoves = 10
)

// delegated are the controllers of version 1 that a plain user needs. gVisor skips the other ones if they are mounted
// read-only, and fails if they are not. The controller devices is not delegated: its files would give access to the
// devices of the host.
var delegated = []string{"memory", "cpu", "cpuacct", "pids", "cpuset"}

// Delegate gives the parent of all sandboxes' cgroups to a user, so that this user can limit sandboxes. It must run as
// root, and before the first sandbox. If the cgroups are mounted read-only, it makes them writable, for which it needs
// CAP_SYS_ADMIN. Outside a cgroup namespace of its own it changes nothing and fails, because the cgroups are the host's.
func Delegate(root string, uid, gid int) error {
	table, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	return delegate(string(table), root, uid, gid)
}

// delegate is Delegate for a process with this table of cgroups.
func delegate(table, root string, uid, gid int) error {
	if !ownNamespace(table) {
		return errors.New("the cgroups here are the host's, not the container's: start the container with --cgroupns=private")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return fmt.Errorf("cannot find cgroups at %s: %w", root, err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return delegateV2(root, uid, gid)
	}
	if extra := foreignWritable(root); len(extra) > 0 {
		return fmt.Errorf("cgroup controllers %s are mounted writable, and uid %d does not get them, so gVisor cannot start sandboxes: mount them read-only, without --privileged and without a volume at %s",
			strings.Join(extra, ", "), uid, root)
	}
	for _, controller := range delegated {
		dir := filepath.Join(root, controller)
		if err := makeWritable(dir); err != nil {
			return fmt.Errorf("cgroup controller %s cannot be used: %w", controller, err)
		}
		if err := giveGroup(filepath.Join(dir, parent), uid, gid); err != nil {
			return fmt.Errorf("cgroup controller %s cannot be given to uid %d: %w", controller, uid, err)
		}
	}
	return nil
}

// foreignWritable returns the controllers of version 1 that are mounted writable and are not given to the user.
func foreignWritable(root string) (all []string) {
	for _, controller := range others {
		var fs unix.Statfs_t
		if !slices.Contains(delegated, controller) && unix.Statfs(filepath.Join(root, controller), &fs) == nil && fs.Flags&unix.ST_RDONLY == 0 {
			all = append(all, controller)
		}
	}
	return all
}

func delegateV2(root string, uid, gid int) error {
	if err := makeWritable(root); err != nil {
		return fmt.Errorf("cgroups cannot be used: %w", err)
	}
	if err := (&Cgroups{root: root, V2: true}).prepareV2(); err != nil {
		return err
	}
	// A process moves between two cgroups only if its user can write to the nearest common parent of both.
	return errors.Join(giveGroup(filepath.Join(root, parent), uid, gid), os.Chown(filepath.Join(root, "cgroup.procs"), uid, gid))
}

// makeWritable creates the parent of all sandboxes' cgroups in a directory of cgroups. If the directory is mounted
// read-only, it first makes this mount writable.
func makeWritable(dir string) error {
	group := filepath.Join(dir, parent)
	err := os.MkdirAll(group, 0o755)
	if errors.Is(err, unix.EROFS) {
		// The flag MS_BIND changes this mount only. Without it, all mounts of this hierarchy on the host would change.
		if err = unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("make %s writable: %w", dir, err)
		}
		err = os.MkdirAll(group, 0o755)
	}
	return err
}

// giveGroup gives a cgroup and its files to a user. The files of the parents stay those of root, so the user cannot
// change the limits of the container.
func giveGroup(dir string, uid, gid int) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	err = os.Chown(dir, uid, gid)
	for _, f := range files {
		if !f.IsDir() {
			err = errors.Join(err, os.Lchown(filepath.Join(dir, f.Name()), uid, gid))
		}
	}
	return err
}

// needed are the controllers of version 2 that limit sandboxes.
var needed = []string{"memory", "cpu", "pids"}

// enable passes the controllers on to the children of a cgroup of version 2. If the cgroup has processes, it moves them
// to a leaf, and retries. If the controllers are enabled already, it changes nothing: a user to whom the cgroup was given
// cannot write to its parent.
func enable(dir string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	if b, err := os.ReadFile(file); err == nil {
		have := strings.Fields(string(b))
		if !slices.ContainsFunc(needed, func(c string) bool { return !slices.Contains(have, c) }) {
			return nil
		}
	}
	value := "+" + strings.Join(needed, " +")
	err := writeFile(file, value)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if err := leave(dir); err != nil {
		return fmt.Errorf("move the processes of %s to a cgroup of their own: %w", dir, err)
	}
	return writeFile(file, value)
}

// leave moves all processes of a cgroup to its child leaf.
func leave(dir string) error {
	to := filepath.Join(dir, leaf)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for range maxMoves {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return err
		}
		pids := strings.Fields(string(b))
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if pid == "0" {
				return errors.New("processes of another process namespace are in it")
			}
			// The error ESRCH says that the process has ended.
			if err := writeFile(filepath.Join(to, "cgroup.procs"), pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %s: %w", pid, err)
			}
		}
	}
	return fmt.Errorf("new processes appeared %d times", maxMoves)
}

// Writable reports whether this process can create cgroups below root.
func Writable(root string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(root, &fs) != nil {
		return false
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		root = filepath.Join(root, delegated[0])
	}
	return unix.Access(root, unix.W_OK) == nil
}

// OwnNamespace reports whether this process is in the first cgroup of its namespace, or in one of ours below it. gVisor
// looks for the path of its cgroup below the mounted cgroups. In a container that shares the namespace of the host, this
// path does not exist there.
func OwnNamespace() bool {
	b, err := os.ReadFile("/proc/self/cgroup")
	return err == nil && ownNamespace(string(b))
}

// ownNamespace reads lines of the form "number:controllers:path" (cgroups(7)). In version 2 the controllers are empty.
func ownNamespace(table string) bool {
	path := ""
	for line := range strings.Lines(table) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if slices.Contains(strings.Split(f[1], ","), "memory") {
			path = f[2]
			break
		}
		if f[1] == "" {
			path = f[2]
		}
	}
	return path == "/" || path == "/"+parent || path == "/"+leaf
}
