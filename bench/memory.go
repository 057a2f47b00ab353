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

// bytesPerMB converts bytes to the report's unit of memory.
const bytesPerMB = 1e6

// part is a share of a sandbox's memory.
type part string

// The parts of a sandbox's memory. Its cgroup counts them.
const (
	partTotal  part = "total" // without the page cache of files, which sandboxes share
	partGVisor part = "gVisor (anonymous memory)"
	partGuest  part = "guest (memory file)"
	partKernel part = "host kernel (processes and page tables)"
)

// cgroupMemory returns the parts of a cgroup's memory in MB. It reads cgroup v2, or else v1.
func cgroupMemory(dir string) (map[part]float64, error) {
	stat, err := readStat(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return nil, err
	}
	if all, err := readNumber(filepath.Join(dir, "memory.current")); err == nil {
		return map[part]float64{partTotal: mbOf(all - stat["active_file"] - stat["inactive_file"]), partGVisor: mbOf(stat["anon"]), partGuest: mbOf(stat["shmem"]), partKernel: mbOf(stat["kernel"])}, nil
	}
	all, err := readNumber(filepath.Join(dir, "memory.usage_in_bytes"))
	kernel, kernelErr := readNumber(filepath.Join(dir, "memory.kmem.usage_in_bytes"))
	if err != nil || kernelErr != nil {
		return nil, fmt.Errorf("read the memory of a cgroup: %v, %v", err, kernelErr)
	}
	return map[part]float64{partTotal: mbOf(all - stat["active_file"] - stat["inactive_file"]), partGVisor: mbOf(stat["rss"]), partGuest: mbOf(stat["shmem"]), partKernel: mbOf(kernel)}, nil
}

func mbOf(bytes int64) float64 { return float64(bytes) / bytesPerMB }

// readNumber reads a file that contains one number.
func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// readStat reads a file whose lines are a name and a number.
func readStat(path string) (map[string]int64, error) {
	b, err := os.ReadFile(path)
	all := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 {
			all[f[0]], _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return all, err
}

// sandboxCgroups returns the folders of the memory cgroups of a server's sandboxes, by the ids of the sandboxes.
func sandboxCgroups(c *contender.Cellhold) (map[string]string, error) {
	ids, err := c.Sandboxes()
	if err != nil {
		return nil, err
	}
	cgroups := map[string]string{}
	for _, id := range ids {
		for _, dir := range []string{"/sys/fs/cgroup/memory/cellhold/" + id, "/sys/fs/cgroup/cellhold/" + id} {
			if _, err := os.Stat(filepath.Join(dir, "memory.stat")); err == nil {
				cgroups[id] = dir
			}
		}
	}
	if len(cgroups) == 0 && len(ids) > 0 {
		return nil, fmt.Errorf("the sandboxes have no cgroups; run as root")
	}
	return cgroups, nil
}

// memory measures the memory of idle sessions that have run one cell with pandas.
func (b *bench) memory(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "memory", Title: "Memory of an idle session that has used pandas", Unit: "MB"})
	for _, e := range b.contenders(ctx, report.Warm, report.Restore, report.Cold) {
		if err := b.memoryOf(ctx, e, f.SeriesOf(e.name)); err != nil {
			f.SeriesOf(e.name).Fail(err)
		}
	}
	for _, e := range b.contenders(ctx, report.Bare) {
		if err := b.memoryOfBare(ctx, f.SeriesOf(e.name)); err != nil {
			f.SeriesOf(e.name).Fail(err)
		}
	}
	return b.crowd(ctx)
}

// memoryOf measures sandboxes of a contender that is a server of cellhold. If the server has warm sandboxes, the sessions use
// them.
func (b *bench) memoryOf(ctx context.Context, e *entry, into *report.Series) error {
	server := e.Contender.(*contender.Cellhold)
	if err := server.Settle(ctx); err != nil {
		return err
	}
	cgroups, err := sandboxCgroups(server)
	if err != nil {
		return err
	}
	n := b.n.idle
	if len(cgroups) > 0 { // the warm sandboxes
		n = len(cgroups)
	}
	sessions, err := openUsed(ctx, e, n)
	defer endAll(ctx, sessions)
	if err != nil {
		return err
	}
	if err := server.Settle(ctx); err != nil {
		return err
	}
	sleep(ctx, 2*time.Second) // in this time gVisor's processes return unused memory to the host
	if len(cgroups) == 0 {
		if cgroups, err = sandboxCgroups(server); err != nil {
			return err
		}
	}
	return b.recordParts(ctx, e.name, cgroups, into, sessions[0])
}

// recordParts records the memory of each cgroup, its parts, and the processes in one session.
func (b *bench) recordParts(ctx context.Context, name string, cgroups map[string]string, into *report.Series, session contender.Session) error {
	f := b.report.Add(report.Figure{Key: "memory-of-" + name, Title: "Where the memory of an idle session is: " + name, Unit: "MB"})
	f.Note = "Rows that begin with \"in the guest\" show the memory that gVisor has allocated to a process. The memory file contains only the part that the process has used."
	for _, dir := range cgroups {
		parts, err := cgroupMemory(dir)
		if err != nil {
			return err
		}
		into.Put(parts[partTotal])
		for _, p := range []part{partGVisor, partGuest, partKernel} {
			f.SeriesOf(string(p)).Put(parts[p])
		}
	}
	out, err := session.Run(ctx, printProcesses)
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

// printProcesses is a cell that prints the anonymous memory of each process that user code can see. The rest of the guest's
// memory belongs to the agent, which is hidden.
const printProcesses = `import glob
for path in sorted(glob.glob("/proc/[0-9]*/")):
    try:
        sizes = [int(line.split()[1]) for line in open(path + "smaps") if line.startswith("Anonymous:")]
        print(open(path + "comm").read().strip(), sum(sizes) * 1024, sep="\t")
    except OSError:
        pass
`

// memoryOfBare measures bare kernels. It moves the Python program that starts them into a new cgroup.
func (b *bench) memoryOfBare(ctx context.Context, into *report.Series) error {
	dir, err := newCgroup(fmt.Sprintf("cellhold-bench-%d", os.Getpid()))
	if err != nil {
		return err
	}
	defer b.removeCgroup(dir)
	c, err := b.driver("bare.py")()
	if err != nil {
		return err
	}
	defer c.Close()
	pid := strconv.Itoa(c.(*contender.Driver).Pid())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0); err != nil {
		return err
	}
	before, err := cgroupMemory(dir)
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
		after, err := cgroupMemory(dir)
		if err != nil {
			return err
		}
		into.Put(after[partTotal] - before[partTotal])
		before = after
	}
	return nil
}

// removeCgroup removes a cgroup. It retries for 5 s while the last processes end.
func (b *bench) removeCgroup(dir string) {
	err := os.Remove(dir)
	for begun := time.Now(); err != nil && time.Since(begun) < 5*time.Second; err = os.Remove(dir) {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		b.say("%v", err)
	}
}

// newCgroup creates a cgroup that counts memory, and returns its folder.
func newCgroup(name string) (string, error) {
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
