package container

import (
	"cellhold/internal/sandbox/embedded/cgroup"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
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
	return d.become()
}

// give creates a folder and gives it to the user. A folder with files, or of another user, stays as it is: it is probably
// a folder of the host, whose owner must decide.
func (d Drop) give(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		return nil // root without its capabilities cannot even list it
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		return err
	}
	return os.Chown(dir, d.User.UID, d.User.GID)
}

// become replaces this process by the same program as the user. The capabilities of a thread survive an execve only in
// the inheritable, the ambient and the bounding set, so all three are emptied.
func (d Drop) become() error {
	runtime.LockOSThread() // the calls below act on one thread; execve keeps that of the caller and ends the others
	fail := func(what string, err error) error { return fmt.Errorf("become uid %d: %s: %w", d.User.UID, what, err) }
	for c := uintptr(0); ; c++ {
		if held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			break // the kernel has no capability with this number
		} else if held == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fail("empty the bounding set", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fail("empty the ambient set", err)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return fail("leave all groups", e)
	}
	gid, uid := uintptr(d.User.GID), uintptr(d.User.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return fail("change the group", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return fail("change the user", e)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fail("give up capabilities", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fail("forbid new privileges", err)
	}
	program, err := os.Executable()
	if err == nil {
		err = unix.Exec(program, os.Args, d.Environ)
	}
	return fail("start the program again", err)
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
