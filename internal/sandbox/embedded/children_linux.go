package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
)

// children are the child processes of this program that some part of this package waits for. It is
// one for the whole program, as the kernel's own list is: two drivers must not collect each
// other's.
var children = family{pids: map[int]bool{}}

type family struct {
	mu   sync.Mutex
	pids map[int]bool
}

// run runs a command, and counts it in from its first moment to its last.
func (f *family) run(cmd *exec.Cmd) error {
	f.mu.Lock()
	err := cmd.Start()
	if err == nil {
		f.pids[cmd.Process.Pid] = true
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	defer f.remove(cmd.Process.Pid)
	return cmd.Wait()
}

func (f *family) add(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids[pid] = true
}

func (f *family) remove(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pids, pid)
}

func (f *family) has(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pids[pid]
}

// reapStrays collects sandbox processes that nobody watched when they died, which happens when a
// creation is killed half way: orphaned, they become our children.
func (f *family) reapStrays(ctx context.Context) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		// In this order: what has come to be our child since the question was asked is in the
		// family by the time of the answer.
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
	p, err := identify(pid)
	if err != nil {
		return nil // gone
	}
	h, err := p.open()
	if h == nil {
		return err
	}
	defer h.close()
	err = h.waitFor(ctx)
	_, _ = h.reap()
	return err
}

// isDying tells whether it is a child of ours, started from /proc/self/exe, that is ending or has
// ended.
func isDying(pid int) bool {
	s, err := readStat(pid)
	if err != nil || s.parent != os.Getpid() || s.name != "exe" {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return (err == nil || errors.Is(err, os.ErrNotExist)) && len(cmdline) == 0 // its memory is gone
}
