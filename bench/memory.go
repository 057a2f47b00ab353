package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// mb is the unit of memory in the report.
const mb = 1e6

// part is a share of a sandbox's memory.
type part string

// The parts of a sandbox's memory in its cgroup.
const (
	partAll    part = "all of it" // without the page cache of files, which sandboxes share
	partSentry part = "gVisor's own (anonymous memory)"
	partGuest  part = "the guest's (memory file)"
	partKernel part = "the host's kernel, for its processes and page tables"
)

// group returns the memory of a cgroup by parts, in MB.
func group(dir string) (map[part]float64, error) {
	stat, err := numbers(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return nil, err
	}
	if all, err := number(filepath.Join(dir, "memory.current")); err == nil {
		return map[part]float64{partAll: mbOf(all - stat["active_file"] - stat["inactive_file"]), partSentry: mbOf(stat["anon"]), partGuest: mbOf(stat["shmem"]), partKernel: mbOf(stat["kernel"])}, nil
	}
	all, err := number(filepath.Join(dir, "memory.usage_in_bytes"))
	kernel, kernelErr := number(filepath.Join(dir, "memory.kmem.usage_in_bytes"))
	if err != nil || kernelErr != nil {
		return nil, fmt.Errorf("read the memory of a cgroup: %v, %v", err, kernelErr)
	}
	return map[part]float64{partAll: mbOf(all - stat["active_file"] - stat["inactive_file"]), partSentry: mbOf(stat["rss"]), partGuest: mbOf(stat["shmem"]), partKernel: mbOf(kernel)}, nil
}

func mbOf(bytes int64) float64 { return float64(bytes) / mb }

func number(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

func numbers(path string) (map[string]int64, error) {
	b, err := os.ReadFile(path)
	all := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 {
			all[f[0]], _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return all, err
}

// groupsOf returns the memory cgroups of all sandboxes of a server.
func groupsOf(c *contender.Cellhold) (map[string]string, error) {
	ids, err := c.Sandboxes()
	if err != nil {
		return nil, err
	}
	groups := map[string]string{}
	for _, id := range ids {
		for _, dir := range []string{"/sys/fs/cgroup/memory/cellhold/" + id, "/sys/fs/cgroup/cellhold/" + id} {
			if _, err := os.Stat(filepath.Join(dir, "memory.stat")); err == nil {
				groups[id] = dir
			}
		}
	}
	if len(groups) == 0 && len(ids) > 0 {
		return nil, fmt.Errorf("the sandboxes have no cgroups; run as root")
	}
	return groups, nil
}

// memory measures idle sessions that have run one cell with pandas.
func (b *bench) memory(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "memory", Title: "Memory of an idle session that has used pandas", Unit: "MB"})
	for _, e := range b.contenders(ctx, report.Warm, report.Restore, report.Cold) {
		if err := b.memoryOf(ctx, e, f.SeriesOf(e.name)); err != nil {
			f.SeriesOf(e.name).Fail(err)
		}
	}
	for _, e := range b.contenders(ctx, report.Bare) {
		if err := b.memoryOfDriver(ctx, f.SeriesOf(e.name)); err != nil {
			f.SeriesOf(e.name).Fail(err)
		}
	}
	return b.crowd(ctx)
}

// memoryOf measures sandboxes of cellhold. If there are ready sandboxes, the sessions use these.
func (b *bench) memoryOf(ctx context.Context, e *entry, into *report.Series) error {
	server := e.Contender.(*contender.Cellhold)
	if err := server.Settle(ctx); err != nil {
		return err
	}
	warm, err := groupsOf(server)
	if err != nil {
		return err
	}
	n := b.n.idle
	if len(warm) > 0 {
		n = len(warm)
	}
	sessions, err := openUsed(ctx, e, n)
	defer endAll(ctx, sessions)
	if err != nil {
		return err
	}
	if err := server.Settle(ctx); err != nil {
		return err
	}
	pause(ctx, 2*time.Second) // Go returns unused memory to the host
	if len(warm) == 0 {
		if warm, err = groupsOf(server); err != nil {
			return err
		}
	}
	return b.parts(ctx, e.name, warm, into, sessions[0])
}

// parts records the memory of cgroups and its parts.
func (b *bench) parts(ctx context.Context, name string, groups map[string]string, into *report.Series, one contender.Session) error {
	f := b.report.Add(report.Figure{Key: "memory-of-" + name, Title: "Where the memory of an idle session is: " + name, Unit: "MB"})
	f.Note = "The last rows are what gVisor has allotted to processes that user code can see; only what they have touched is in the memory file, and so part of the sum."
	for _, dir := range groups {
		parts, err := group(dir)
		if err != nil {
			return err
		}
		into.Put(parts[partAll])
		for _, p := range []part{partSentry, partGuest, partKernel} {
			f.SeriesOf(string(p)).Put(parts[p])
		}
	}
	out, err := one.Run(ctx, processes)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out.Text) {
		name, bytes, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if n, err := strconv.ParseInt(bytes, 10, 64); err == nil {
			f.SeriesOf("in the guest: " + name).Put(mbOf(n))
		}
	}
	return nil
}

// processes prints the anonymous memory of each process in the guest. User code cannot see the agent; its memory is the rest.
const processes = `import glob
for path in sorted(glob.glob("/proc/[0-9]*/")):
    try:
        sizes = [int(line.split()[1]) for line in open(path + "smaps") if line.startswith("Anonymous:")]
        print(open(path + "comm").read().strip(), sum(sizes) * 1024, sep="\t")
    except OSError:
        pass
`

// memoryOfDriver measures bare kernels in a driver with its own cgroup.
func (b *bench) memoryOfDriver(ctx context.Context, into *report.Series) error {
	dir, err := newGroup(fmt.Sprintf("cellhold-bench-%d", os.Getpid()))
	if err != nil {
		return err
	}
	defer b.removeGroup(dir)
	c, err := b.driver("bare.py")()
	if err != nil {
		return err
	}
	defer c.Close()
	pid := strconv.Itoa(c.(*contender.Driver).Pid())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0); err != nil {
		return err
	}
	before, err := group(dir)
	if err != nil {
		return err
	}
	for range b.n.idle {
		s, err := c.Open(ctx)
		if err == nil {
			_, err = s.Run(ctx, firstPandas)
		}
		if err != nil {
			return err
		}
		after, err := group(dir)
		if err != nil {
			return err
		}
		into.Put(after[partAll] - before[partAll])
		before = after
	}
	return nil
}

// removeGroup removes a cgroup whose last processes are ending.
func (b *bench) removeGroup(dir string) {
	err := os.Remove(dir)
	for begun := time.Now(); err != nil && time.Since(begun) < 5*time.Second; err = os.Remove(dir) {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		b.say("%v", err)
	}
}

// newGroup creates a cgroup that counts memory.
func newGroup(name string) (string, error) {
	for _, parent := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		dir := filepath.Join(parent, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "memory.stat")); err == nil {
			return dir, nil
		}
		os.Remove(dir)
	}
	return "", fmt.Errorf("cannot create a cgroup that counts memory; run as root")
}
