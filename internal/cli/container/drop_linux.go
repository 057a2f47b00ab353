package container

import (
	"cellhold/internal/sandbox/embedded/cgroup"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Drop describes how root becomes a plain user.
type Drop struct {
	User    User
	Folders []string // created if missing, and given to the user if they are empty and belong to root

	// AcceptMissingLimits continues if the control groups cannot be given to the user. The server then says what it
	// cannot limit.
	AcceptMissingLimits bool
	Log                 *slog.Logger
	Environ             []string // the environment of the program
}

// Run prepares the container, and replaces this process by the same program as the user. It returns only with an error.
func (d Drop) Run() error {
	if missing := d.missing(); len(missing) > 0 {
		return refusal(missing)
	}
	if err := cgroup.Delegate(cgroup.Root, d.User.UID, d.User.GID); err != nil {
		if !d.AcceptMissingLimits {
			return fmt.Errorf("%w; let the engine make them writable, or accept with --accept-missing-limits that the memory and CPU of sandboxes are not limited", err)
		}
		d.Log.Warn("cannot prepare control groups", "err", err)
	}
	for _, dir := range d.Folders {
		if err := d.give(dir); err != nil {
			return err
		}
	}
	return d.User.Become(append(slices.Clone(d.Environ), Mark+"=1"))
}

// Become replaces this process by the same program as the user, with the given environment. It returns only with an
// error.
func (u User) Become(environ []string) error {
	runtime.LockOSThread() // the calls below act on one thread; execve keeps that of the caller and ends the others
	gid, uid := uintptr(u.GID), uintptr(u.UID)
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"empty the bounding set", emptyBoundingSet},
		{"leave all groups", func() error { return onThisThread(unix.SYS_SETGROUPS, 0, 0, 0) }},
		{"change the group", func() error { return onThisThread(unix.SYS_SETRESGID, gid, gid, gid) }},
		{"change the user", func() error { return onThisThread(unix.SYS_SETRESUID, uid, uid, uid) }},
		{"give up capabilities", giveUpCapabilities},
		{"start the program again", func() error { return again(environ) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("become uid %d: %s: %w", u.UID, step.what, err)
		}
	}
	return nil // not reached: the last step ends this program
}

// GiveUpRest gives up the capabilities of a plain user, which an engine or a service manager can give, and executes the
// program again. It returns nil if there are none.
func GiveUpRest(environ []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // reached with an error, which ends the program, or without a change
	if held, err := holdsAny(); err != nil || !held {
		return err
	}
	err := giveUpCapabilities()
	if err == nil {
		err = again(environ)
	}
	return fmt.Errorf("give up the capabilities of uid %d: %w; start the program without capabilities", os.Geteuid(), err)
}

// holdsAny reports whether this thread has a capability, or an execve can give it one. The ambient set is a part of the
// inheritable set.
func holdsAny() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return data[0].Permitted|data[0].Inheritable|data[1].Permitted|data[1].Inheritable != 0, err
}

// giveUpCapabilities empties all sets of this thread but the bounding set, and forbids that an execve gives more.
// Capabilities survive an execve only in the inheritable, the ambient and the bounding set.
func giveUpCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func emptyBoundingSet() error {
	for c := uintptr(0); ; c++ {
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			return nil // the kernel has no capability with this number
		}
		if held == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
}

// onThisThread makes a system call on this thread only. The functions of Go would make it on all threads, and the other
// capabilities are those of one thread.
func onThisThread(call, a, b, c uintptr) error {
	if _, _, e := unix.RawSyscall(call, a, b, c); e != 0 {
		return e
	}
	return nil
}

// again executes this program again with its arguments.
func again(environ []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(program, os.Args, environ)
}

// capabilities are those that Run needs, with their names for engines.
var capabilities = []struct {
	number int
	name   string
}{{unix.CAP_SETUID, "SETUID"}, {unix.CAP_SETGID, "SETGID"}, {unix.CAP_SETPCAP, "SETPCAP"}, {unix.CAP_CHOWN, "CHOWN"}}

// has reports whether this process has a capability.
func has(number int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[number/32].Effective&(1<<(number%32)) != 0
}

// missing returns the flags of the engine without which no sandbox can start with all its limits. All are returned at
// once, so that people add them at once.
func (d Drop) missing() (flags []string) {
	for _, c := range capabilities {
		if !has(c.number) {
			flags = append(flags, "--cap-add "+c.name)
		}
	}
	if !d.AcceptMissingLimits && !has(unix.CAP_SYS_ADMIN) && !cgroup.Writable(cgroup.Root) {
		flags = append(flags, "--cap-add SYS_ADMIN")
	}
	if !d.AcceptMissingLimits && !cgroup.OwnNamespace() {
		flags = append(flags, "--cgroupns=private")
	}
	return append(flags, profiles()...)
}

// profiles returns the flags for profiles that forbid what each sandbox needs.
func profiles() (flags []string) {
	if filtered() {
		flags = append(flags, "--security-opt seccomp=seccomp.json")
	}
	if label, err := os.ReadFile("/proc/self/attr/current"); err == nil && strings.HasPrefix(string(label), "docker-default") {
		flags = append(flags, "--security-opt apparmor=unconfined")
	}
	return flags
}

// filtered reports whether a filter of system calls forbids what each sandbox needs. With CAP_SYS_ADMIN, Docker's own
// profile allows new namespaces and forbids only pivot_root. The kernel itself does not refuse this process then, as the
// paths are missing. Without this capability, the profile forbids a new user namespace.
func filtered() bool {
	if has(unix.CAP_SYS_ADMIN) {
		return errors.Is(unix.PivotRoot("/.cellhold-missing", "/.cellhold-missing"), unix.EPERM)
	}
	cmd := exec.Command("/proc/self/exe", "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	return errors.Is(cmd.Run(), unix.EPERM)
}

func refusal(flags []string) error {
	return fmt.Errorf("sandboxes need rights that this container lacks: add %s to docker run (cellhold seccomp prints seccomp.json); docs/how-to/docker.md has the reasons", strings.Join(flags, " "))
}

// Explain adds the missing flags of the engine to an error of the driver, in a container.
func Explain(err error) error {
	if err == nil || !Inside() {
		return err
	}
	if flags := profiles(); len(flags) > 0 {
		return fmt.Errorf("%w; %w", refusal(flags), err)
	}
	return err
}
