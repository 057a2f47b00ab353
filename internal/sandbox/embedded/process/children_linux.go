package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Children are the child processes of this program for which some part of this package waits. There is one set for
// the program, because the kernel has one list too: a driver must not collect the children of another one.
var Children = childSet{pids: map[int]bool{}}

type childSet struct {
	mu   sync.Mutex
	pids map[int]bool
}

// Run runs a command, which is in the set from its start to its end. The command's standard error must be a file or nil.
func (f *childSet) Run(cmd *exec.Cmd) error {
	stderr, err := protectProgram(cmd)
	if err != nil {
		return err
	}
	defer stderr.Close() // also if it is nil
	f.mu.Lock()
	err = cmd.Start()
	if err == nil {
		f.pids[cmd.Process.Pid] = true
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	defer f.Remove(cmd.Process.Pid)
	return cmd.Wait()
}

// Descriptors begins the paths of open files of the process that uses the path.
const Descriptors = "/proc/self/fd/"

// protectProgram protects a program that cmd.Path names by its descriptor. In the child, between fork and exec, Go uses
// the numbers after the highest descriptor of the standard streams, and closes the files that had these numbers. So
// protectProgram gives cmd a copy of the standard error with a higher number than the program's descriptor. It returns
// the copy, which the caller must close.
func protectProgram(cmd *exec.Cmd) (stderr *os.File, err error) {
	number, is := strings.CutPrefix(cmd.Path, Descriptors)
	if !is {
		return nil, nil
	}
	program, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	var from *os.File
	switch to := cmd.Stderr.(type) {
	case *os.File:
		from = to
	case nil:
		if from, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return nil, err
		}
		defer from.Close()
	default:
		return nil, errors.New("the standard error of a program must be a file")
	}
	fd, err := unix.FcntlInt(from.Fd(), unix.F_DUPFD_CLOEXEC, program+1)
	if err != nil {
		return nil, fmt.Errorf("copy the standard error of a program: %w", err)
	}
	stderr = os.NewFile(uintptr(fd), from.Name())
	cmd.Stderr = stderr
	return stderr, nil
}

func (f *childSet) Add(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids[pid] = true
}

func (f *childSet) Remove(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pids, pid)
}

func (f *childSet) has(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pids[pid]
}

// ReapStrays collects sandbox processes that died without a watcher. They exist when a creation is killed half way:
// as orphans they become our children.
func (f *childSet) ReapStrays(ctx context.Context) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		// This order matters: a process that became our child after isDying is in the set when has looks.
		if err != nil || !isDying(pid) || f.has(pid) {
			continue
		}
		if err := reapOne(ctx, pid); err != nil {
			return fmt.Errorf("collect process %d: %w", pid, err)
		}
	}
	return nil
}

func reapOne(ctx context.Context, pid int) error {
	p, err := Identify(pid)
	if err != nil {
		return nil // the process has ended
	}
	h, err := p.Open()
	if h == nil {
		return err
	}
	defer h.Close()
	err = h.waitFor(ctx)
	_, _ = h.Reap()
	return err
}

// isDying reports whether the process is a child of ours, started from /proc/self/exe, that is ending or has ended.
func isDying(pid int) bool {
	s, err := readStat(pid)
	if err != nil || s.parent != os.Getpid() || s.name != "exe" {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return (err == nil || errors.Is(err, os.ErrNotExist)) && len(cmdline) == 0 // a process that has ended has no memory, and so no arguments
}
