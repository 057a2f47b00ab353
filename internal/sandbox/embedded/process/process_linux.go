// Package process finds, watches and ends the host processes of sandboxes.
//
// The package identifies a process by its pid and its start time. So it never confuses a process with a later one that has
// the same pid. It uses /proc and pidfds. It recognises gVisor's processes by their names, arguments and uids, and does
// not know cgroups.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process identifies a process uniquely. A pid alone does not: the kernel reuses it, and the driver must never signal
// the other process.
type Process struct {
	PID   int
	Start uint64 // in clock ticks since the host's start
}

// stat holds the fields of /proc/<pid>/stat that the driver needs.
type stat struct {
	name   string
	state  byte
	parent int
	start  uint64
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')') // the name can contain both characters
	if open < 0 || end < open {
		return stat{}, errors.New("malformed stat")
	}
	f := strings.Fields(string(b[end+1:])) // starts at the third field
	if len(f) < 20 {
		return stat{}, errors.New("malformed stat")
	}
	s := stat{name: string(b[open+1 : end]), state: f[0][0]}
	s.parent, _ = strconv.Atoi(f[1])
	s.start, err = strconv.ParseUint(f[19], 10, 64)
	return s, err
}

// Identify returns the running process with this pid.
func Identify(pid int) (Process, error) {
	s, err := readStat(pid)
	if err != nil {
		return Process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return Process{PID: pid, Start: s.start}, nil
}

// Alive reports whether the process runs. A zombie does not.
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.start == p.Start && s.state != 'Z' && s.state != 'X'
}

// Handle is an open process. It never refers to another process, even if the pid is reused.
type Handle struct {
	pid int
	f   *os.File // a pidfd in Go's poller, so that waiting needs no thread
	rc  syscall.RawConn
}

// Open opens a process. It returns nil if the process has ended.
func (p Process) Open() (*Handle, error) {
	if p.PID <= 0 {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	// If p had ended before PidfdOpen, readStat would fail or find another start time.
	if s, err := readStat(p.PID); err != nil || s.start != p.Start {
		_ = f.Close()
		return nil, nil
	}
	return &Handle{pid: p.PID, f: f, rc: rc}, nil
}

// Wait blocks until the process has ended. It returns an error if the handle is closed first.
func (h *Handle) Wait() error {
	return h.rc.Read(func(fd uintptr) bool {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if !errors.Is(err, unix.EINTR) { // a signal can interrupt this poll too, and no other event follows the end
				return err == nil && n == 1
			}
		}
	})
}

// waitFor is Wait with a context.
func (h *Handle) waitFor(ctx context.Context) error {
	stop := context.AfterFunc(ctx, h.Interrupt)
	defer stop()
	if err := h.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

func (h *Handle) Kill() error {
	var err error
	cerr := h.rc.Control(func(fd uintptr) {
		err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	})
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	return errors.Join(cerr, err)
}

// Reap collects the exit status of a process that has ended. It returns false if the process is not our child, for
// example after a restart of the server. Then the parent of the process collects the status.
func (h *Handle) Reap() (unix.WaitStatus, bool) {
	child := false
	_ = h.rc.Control(func(fd uintptr) {
		var info unix.Siginfo
		child = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
	})
	if !child {
		return 0, false
	}
	// The process is our zombie, so its pid is not reused.
	var status unix.WaitStatus
	got, err := unix.Wait4(h.pid, &status, unix.WNOHANG, nil)
	return status, err == nil && got == h.pid
}

// Interrupt ends all present and later calls of Wait with an error.
func (h *Handle) Interrupt() { _ = h.f.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the handle.
func (h *Handle) Close() { _ = h.f.Close() }

// All lists the ids of the running processes.
func All() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// HasOpen reports whether is returns true for an open file of a process. The argument of is names the file in /proc.
func HasOpen(pid int, is func(file string) bool) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // the process has ended, or belongs to another user
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return is(filepath.Join(dir, e.Name())) })
}

// Users reports whether sandbox processes of the caller can run under a uid. Every user of the host chooses the names and
// arguments of its own processes.
type Users func(uid uint32) bool

// own reports whether a process runs under one of the uids.
func (u Users) own(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false // the process has ended
	}
	_, ids, _ := strings.Cut(string(b), "\nUid:")
	var uid uint32 // the real one, which comes first
	n, _ := fmt.Sscan(ids, &uid)
	return n == 1 && u(uid)
}

// Roots lists the running sandbox processes by their gVisor root directories.
func (u Users) Roots() map[string][]Process {
	found := map[string][]Process{}
	for _, pid := range All() {
		root := u.rootOf(pid)
		if root == "" {
			continue
		}
		// rootOf runs again, because the pid could have been reused before Identify.
		if p, err := Identify(pid); err == nil && u.rootOf(pid) == root {
			found[root] = append(found[root], p)
		}
	}
	return found
}

// rootOf returns the gVisor root directory of a sandbox process, or "".
func (u Users) rootOf(pid int) string {
	args := argsOf(pid)
	if !IsSandbox(args[0]) || !u.own(pid) {
		return ""
	}
	for _, a := range args[1:] {
		if root, is := strings.CutPrefix(a, rootFlag); is {
			return root
		}
	}
	return ""
}

const rootFlag = "--root="

// argsOf returns the program name and the arguments of a process. The name is empty if the process has ended.
func argsOf(pid int) []string {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.Split(string(b), "\x00")
}

// StartedWith lists the running processes that were started with this gVisor root directory and these arguments.
func (u Users) StartedWith(root string, args ...string) []Process {
	var procs []Process
	for _, pid := range All() {
		if !u.BelongsTo(pid, root, args...) {
			continue
		}
		// BelongsTo runs again, because the pid could have been reused before Identify.
		if p, err := Identify(pid); err == nil && u.BelongsTo(pid, root, args...) {
			procs = append(procs, p)
		}
	}
	return procs
}

// BelongsTo reports whether a process is a sandbox process with this gVisor root directory and these arguments.
func (u Users) BelongsTo(pid int, root string, with ...string) bool {
	args := argsOf(pid)
	if !IsSandbox(args[0]) {
		return false
	}
	for _, a := range append(with, rootFlag+root) {
		if !slices.Contains(args[1:], a) {
			return false
		}
	}
	return u.own(pid)
}

// KillAll ends all processes that find returns, and waits for their end. It repeats until find returns none, because a
// process may have started another one.
func KillAll(ctx context.Context, find func() []Process) error {
	for {
		procs := find()
		if len(procs) == 0 {
			return nil
		}
		for _, p := range procs {
			if err := p.End(ctx); err != nil {
				return fmt.Errorf("end process %d: %w", p.PID, err)
			}
		}
	}
}

// Await waits for the end of a process.
func (p Process) Await(ctx context.Context) error {
	h, err := p.Open()
	if h == nil {
		return err
	}
	defer h.Close()
	return h.waitFor(ctx)
}

// End kills a process, waits for its end, and collects it if it is our child.
func (p Process) End(ctx context.Context) error {
	h, err := p.Open()
	if h == nil {
		return err
	}
	defer h.Close()
	if err := h.Kill(); err != nil {
		return err
	}
	if err := h.waitFor(ctx); err != nil {
		return err
	}
	_, _ = h.Reap()
	return nil
}

// Self is the path by which a running binary starts itself, even if its file was replaced.
const Self = "/proc/self/exe"

// IsSandbox recognises a sandbox process by its program name. The environment cannot be used, because the sentry
// starts with an empty one. gVisor starts its processes as runsc, runsc-sandbox, runsc-gofer and so on. It starts
// one short-lived helper as Self.
func IsSandbox(arg0 string) bool {
	return arg0 == Self || strings.HasPrefix(filepath.Base(arg0), "runsc")
}
