// Package cgroup checks, reads and removes the cgroups of sandboxes.
//
// gVisor creates the cgroups. The package checks that every limit is really set, in version 1 and version 2. It also
// tells the kernel which processes to kill first when memory runs out. It knows no driver.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

const (
	Root   = "/sys/fs/cgroup"
	parent = "cellhold" // all sandboxes' cgroups are below this one
)

const (
	// CPUPeriod is the kernel's default.
	CPUPeriod = 100_000
	// minCPUQuota is the kernel's minimum.
	minCPUQuota = 1_000
)

// BackstopPids returns the host's limit of tasks for a sandbox with n processes. A sandbox that reaches it panics, so a
// guest with n processes must never reach it. Each guest thread uses two tasks or a little more, and gVisor itself less
// than a hundred.
func BackstopPids(n int) int64 { return 256 + 4*int64(n) }

// CPUQuota returns the CPU quota in a period.
func CPUQuota(cores float64) int64 {
	return max(int64(math.Round(cores*CPUPeriod)), minCPUQuota)
}

// Cgroups reads and removes the cgroups that gVisor creates. The host has one of two layouts, version 1 or 2.
type Cgroups struct {
	root string
	V2   bool
	// SwapCounter is set if swap can be limited together with memory.
	SwapCounter bool
}

// Path returns the path of a sandbox's cgroup, relative to a controller.
func Path(id sandbox.ID) string { return filepath.Join("/", parent, string(id)) }

// Find returns the host's cgroups if this process can limit sandboxes with them, and otherwise the reason.
func Find(root string) (*Cgroups, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return nil, fmt.Errorf("cannot find cgroups at %s: %w", root, err)
	}
	c := &Cgroups{root: root, V2: fs.Type == unix.CGROUP2_SUPER_MAGIC}
	if c.V2 {
		return c, c.prepareV2()
	}
	return c, c.prepareV1()
}

// others are the controllers of version 1 that no limit needs. gVisor creates a group under each of them that the host has, and
// fails if it cannot. It skips a controller that is mounted read-only.
var others = []string{"cpuset", "blkio", "devices", "freezer", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "systemd"}

func (c *Cgroups) prepareV1() error {
	for _, controller := range []string{"memory", "cpu", "cpuacct", "pids"} {
		dir := filepath.Join(c.root, controller)
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("cgroup controller %s is missing: %w", controller, err)
		}
		if err := makeUsable(filepath.Join(dir, parent)); err != nil {
			return fmt.Errorf("cgroup controller %s cannot be used: %w", controller, err)
		}
	}
	for _, controller := range others {
		dir := filepath.Join(c.root, controller)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := makeUsable(filepath.Join(dir, parent)); err != nil && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("cgroup controller %s cannot be used, and gVisor needs every controller of the host: %w", controller, err)
		}
	}
	_, err := os.Stat(filepath.Join(c.root, "memory", parent, "memory.memsw.limit_in_bytes"))
	c.SwapCounter = err == nil
	return nil
}

func (c *Cgroups) prepareV2() error {
	dir := filepath.Join(c.root, parent)
	if err := makeUsable(dir); err != nil {
		return fmt.Errorf("cgroups cannot be used: %w", err)
	}
	for _, at := range []string{c.root, dir} {
		if err := enable(at); err != nil {
			return fmt.Errorf("cgroup controllers memory, cpu and pids cannot be used: %w", err)
		}
	}
	c.SwapCounter = true // memory.swap.max exists if the kernel has swap
	return nil
}

// makeUsable creates a cgroup, or checks that an existing one is writable.
func makeUsable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return unix.Access(dir, unix.W_OK)
}

// Close removes the parent of all sandboxes' cgroups, unless another server uses it.
func (c *Cgroups) Close() {
	for _, dir := range c.dirs("") {
		_ = unix.Rmdir(dir) // fails while the cgroup is not empty
	}
}

// dir is the directory of a sandbox's cgroup. Only version 1 has a directory for each controller.
func (c *Cgroups) dir(controller string, id sandbox.ID) string {
	if c.V2 {
		return filepath.Join(c.root, Path(id))
	}
	return filepath.Join(c.root, controller, Path(id))
}

// MemoryDir returns the directory of a sandbox's memory controller.
func (c *Cgroups) MemoryDir(id sandbox.ID) string { return c.dir("memory", id) }

// cgroupFile is more than the size of the files that are read: numbers, one on each line.
const cgroupFile = 4 << 10

// read reads one file of a cgroup. It runs in every cell. os.ReadFile takes five times as long, because it supports
// files that block or grow.
func (c *Cgroups) read(controller, file string, id sandbox.ID) (string, error) {
	path := filepath.Join(c.dir(controller, id), file)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var b [cgroupFile]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// LimitCPU sets the CPU limit. Until then the sandbox has the wider limit of its start.
func (c *Cgroups) LimitCPU(id sandbox.ID, l sandbox.Limits) error {
	file, quota := "cpu.cfs_quota_us", strconv.FormatInt(CPUQuota(l.CPU), 10)
	if c.V2 {
		file, quota = "cpu.max", fmt.Sprintf("%s %d", quota, CPUPeriod)
	}
	if err := writeFile(filepath.Join(c.dir("cpu", id), file), quota); err != nil {
		return fmt.Errorf("limit the CPU: %w", err)
	}
	return nil
}

// Verify reads every limit back from the kernel, and checks that the processes are in the cgroups. gVisor sets the
// limits, and it only logs some failures.
func (c *Cgroups) Verify(id sandbox.ID, l sandbox.Limits, members ...int) error {
	memory := l.Memory / int64(os.Getpagesize()) * int64(os.Getpagesize()) // the kernel rounds down
	type want struct{ controller, file, value string }
	pids := want{"pids", "pids.max", strconv.FormatInt(BackstopPids(l.Processes), 10)}
	wants := []want{
		pids,
		{"memory", "memory.limit_in_bytes", strconv.FormatInt(memory, 10)},
		{"cpu", "cpu.cfs_quota_us", strconv.FormatInt(CPUQuota(l.CPU), 10)},
		{"cpu", "cpu.cfs_period_us", strconv.Itoa(CPUPeriod)},
	}
	if c.V2 {
		wants = []want{
			pids,
			{"memory", "memory.max", strconv.FormatInt(memory, 10)},
			{"cpu", "cpu.max", fmt.Sprintf("%d %d", CPUQuota(l.CPU), CPUPeriod)},
		}
	}
	for _, w := range wants {
		got, err := c.read(w.controller, w.file, id)
		if err != nil {
			return fmt.Errorf("read back limit: %w", err)
		}
		if got != w.value {
			return fmt.Errorf("%s is %q, want %q", w.file, got, w.value)
		}
	}
	if err := c.verifySwap(id, memory); err != nil {
		return err
	}
	for _, pid := range members {
		if err := c.verifyMember(id, pid); err != nil {
			return err
		}
	}
	return nil
}

// verifySwap checks that swap does not extend the memory limit.
func (c *Cgroups) verifySwap(id sandbox.ID, memory int64) error {
	switch {
	case c.V2:
		got, err := c.read("memory", "memory.swap.max", id)
		if errors.Is(err, os.ErrNotExist) {
			return nil // this kernel has no swap
		}
		if err != nil || got != "0" {
			return fmt.Errorf("memory.swap.max is %q, want 0 (%v)", got, err)
		}
	case c.SwapCounter:
		got, err := c.read("memory", "memory.memsw.limit_in_bytes", id)
		if err != nil || got != strconv.FormatInt(memory, 10) {
			return fmt.Errorf("memory.memsw.limit_in_bytes is %q, want %d (%v)", got, memory, err)
		}
	default:
		// The kernel does not count swap. At least it must not swap this group.
		file := filepath.Join(c.dir("memory", id), "memory.swappiness")
		if err := writeFile(file, "0"); err != nil {
			return fmt.Errorf("disable swapping: %w", err)
		}
	}
	return nil
}

func (c *Cgroups) verifyMember(id sandbox.ID, pid int) error {
	in, err := controllers(id, pid)
	if err != nil {
		return err
	}
	if c.V2 && in[""] || in["memory"] && in["cpu"] && in["pids"] {
		return nil
	}
	return fmt.Errorf("process %d is not in its cgroups", pid)
}

// controllers returns the controllers with which a process is in the cgroup of a sandbox. Version 2 has one without a name.
func controllers(id sandbox.ID, pid int) (map[string]bool, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("read cgroups of process %d: %w", pid, err)
	}
	in := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(f) != 3 || !strings.HasSuffix(f[2], Path(id)) {
			continue
		}
		for _, controller := range strings.Split(f[1], ",") {
			in[controller] = true
		}
	}
	return in, nil
}

// Usage returns what the cgroup has used. A figure that cannot be read is -1.
func (c *Cgroups) Usage(id sandbox.ID) sandbox.Usage {
	u := sandbox.Usage{Memory: -1, MemoryPeak: -1, CPU: -1, OOMKills: -1}
	number := func(controller, file string) int64 {
		s, err := c.read(controller, file, id)
		return parseNumber(s, err)
	}
	if c.V2 {
		u.Memory = number("memory", "memory.current")
		u.MemoryPeak = number("memory", "memory.peak")
		if n := keyed(c.read("memory", "memory.events", id))("oom_kill"); n >= 0 {
			u.OOMKills = n
		}
		if n := keyed(c.read("cpu", "cpu.stat", id))("usage_usec"); n >= 0 {
			u.CPU = time.Duration(n) * time.Microsecond
		}
		return u
	}
	u.Memory = number("memory", "memory.usage_in_bytes")
	u.MemoryPeak = number("memory", "memory.max_usage_in_bytes")
	u.OOMKills = keyed(c.read("memory", "memory.oom_control", id))("oom_kill")
	u.CPU = time.Duration(number("cpuacct", "cpuacct.usage"))
	return u
}

// Peak returns the highest memory use since the last call with reset. Version 1 has a counter that can be reset. In
// version 2 only Linux 6.12 and later can reset it, and only for one open file. So Peak fails in version 2. Callers can
// then compare two values of Usage.MemoryPeak, the maximum since the start of the sandbox.
func (c *Cgroups) Peak(id sandbox.ID, reset bool) (int64, error) {
	if c.V2 {
		return 0, errors.ErrUnsupported
	}
	const file = "memory.max_usage_in_bytes"
	n := parseNumber(c.read("memory", file, id))
	if n < 0 {
		return 0, fmt.Errorf("read %s of sandbox %s", file, id)
	}
	if reset {
		return n, writeFile(filepath.Join(c.dir("memory", id), file), "0")
	}
	return n, nil
}

func parseNumber(s string, err error) int64 {
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// keyed returns a function that finds the number of a key in lines of the form "key number".
func keyed(s string, err error) func(key string) int64 {
	return func(key string) int64 {
		for line := range strings.Lines(s) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
				return parseNumber(v, err)
			}
		}
		return -1
	}
}

// dirs returns a sandbox's cgroups under all controllers of the host: gVisor creates one under each.
func (c *Cgroups) dirs(id sandbox.ID) []string {
	pattern := filepath.Join(c.root, Path(id))
	if !c.V2 {
		pattern = filepath.Join(c.root, "*", Path(id))
	}
	dirs, _ := filepath.Glob(pattern) // the only special character is our own *
	return dirs
}

// Remove removes a sandbox's cgroups. Its processes must have ended.
func (c *Cgroups) Remove(ctx context.Context, id sandbox.ID) error {
	for _, dir := range c.dirs(id) {
		if err := rmdirCgroup(ctx, dir); err != nil {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// rmdirCgroup retries until the kernel has released the processes that ended in the cgroup. No event reports this in
// both versions.
func rmdirCgroup(ctx context.Context, dir string) error {
	const pause = 2 * time.Millisecond // it takes microseconds, rarely milliseconds
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// writeFile writes to an existing file of the kernel.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
