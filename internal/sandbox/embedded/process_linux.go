package embedded

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

// process names a process for good. A number alone does not: the kernel gives it to another
// process later, which must never be signalled in the first one's place.
type process struct {
	PID   int
	Start uint64 // in clock ticks since the host's start
}

// stat is what the driver needs of /proc/<pid>/stat.
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
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')') // the name may hold both
	if open < 0 || end < open {
		return stat{}, errors.New("malformed stat")
	}
	f := strings.Fields(string(b[end+1:])) // from the third field on
	if len(f) < 20 {
		return stat{}, errors.New("malformed stat")
	}
	s := stat{name: string(b[open+1 : end]), state: f[0][0]}
	s.parent, _ = strconv.Atoi(f[1])
	s.start, err = strconv.ParseUint(f[19], 10, 64)
	return s, err
}

// identify names the living process with that number.
func identify(pid int) (process, error) {
	s, err := readStat(pid)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{PID: pid, Start: s.start}, nil
}

// alive is false for a zombie too: it is waiting for its parent, not running.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.start == p.Start && s.state != 'Z' && s.state != 'X'
}

// handle is a process that is watched: its number cannot be taken over while this is open.
type handle struct {
	pid int
	f   *os.File // a pidfd, in Go's poller, so that waiting costs no thread
	rc  syscall.RawConn
}

// open returns nil if the process is gone.
func (p process) open() (*handle, error) {
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
	// Looked at after the handle is held: now the number cannot change hands any more.
	if s, err := readStat(p.PID); err != nil || s.start != p.Start {
		_ = f.Close()
		return nil, nil
	}
	return &handle{pid: p.PID, f: f, rc: rc}, nil
}

// wait blocks until the process has ended, or close was called, which is reported as an error.
func (h *handle) wait() error {
	return h.rc.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n == 1
	})
}

// waitFor is wait with a context.
func (h *handle) waitFor(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = h.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := h.wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

func (h *handle) kill() error {
	var err error
	cerr := h.rc.Control(func(fd uintptr) {
		err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	})
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	return errors.Join(cerr, err)
}

// reap takes the exit status of a process that has ended. It is false if the process is not our
// child, as after a restart of the server: then someone else takes it.
func (h *handle) reap() (unix.WaitStatus, bool) {
	child := false
	_ = h.rc.Control(func(fd uintptr) {
		var info unix.Siginfo
		child = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
	})
	if !child {
		return 0, false
	}
	// It is a zombie of ours, so the number is still its own.
	var status unix.WaitStatus
	got, err := unix.Wait4(h.pid, &status, unix.WNOHANG, nil)
	return status, err == nil && got == h.pid
}

func (h *handle) close() { _ = h.f.Close() }

// startedWith lists the living processes that were started with this gVisor root directory, which
// every one of them has among its arguments, and with the other arguments.
func startedWith(root string, args ...string) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var procs []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !isOurs(pid, root, args...) {
			continue
		}
		// Should the number have changed hands since, then to a process with another start.
		if p, err := identify(pid); err == nil && isOurs(pid, root, args...) {
			procs = append(procs, p)
		}
	}
	return procs
}

func isOurs(pid int, root string, with ...string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	args := strings.Split(string(b), "\x00")
	if !startedAsSandbox(args[0]) {
		return false
	}
	for _, a := range append(with, "--root="+root) {
		if !slices.Contains(args[1:], a) {
			return false
		}
	}
	return true
}

// killAll ends all processes that find finds, and returns when they have ended. It looks again until
// there are none, because one of them may have been starting another.
func killAll(ctx context.Context, find func() []process) error {
	for {
		procs := find()
		if len(procs) == 0 {
			return nil
		}
		for _, p := range procs {
			if err := p.end(ctx); err != nil {
				return fmt.Errorf("end process %d: %w", p.PID, err)
			}
		}
	}
}

// await waits for the end of a process.
func (p process) await(ctx context.Context) error {
	h, err := p.open()
	if h == nil {
		return err
	}
	defer h.close()
	return h.waitFor(ctx)
}

// end kills a process, waits for its end, and collects it if it is a child of ours.
func (p process) end(ctx context.Context) error {
	h, err := p.open()
	if h == nil {
		return err
	}
	defer h.close()
	if err := h.kill(); err != nil {
		return err
	}
	if err := h.waitFor(ctx); err != nil {
		return err
	}
	_, _ = h.reap()
	return nil
}
