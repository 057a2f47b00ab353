package cgroup

import (
	"bytes"
	"cellhold/internal/sandbox/embedded/process"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// When a sandbox's memory runs out, the kernel ends the process with the highest score: its resident memory, plus
// oom_score_adj thousandths of the limit. Resident memory means little here. gVisor's sentry maps memory into the guest's
// processes again and again, and each time their count starts at zero; the sentry's own memory counts fully. Without
// adjustment the kernel would often kill the sentry, and with it the session, because of one cell.
const (
	oomUser  = 1000 // the guest's processes end first
	oomAgent = 500  // the agent ends only if it used the memory itself
	// The sentry and the gofer keep their scores.

	// maxPasses bounds the search for new processes. Processes that start after the second pass inherit their scores.
	maxPasses = 3
)

// SetOOMScores makes the guest's processes die before the agent, and the agent before the sentry. gVisor creates one
// process at its start; all later processes are clones that inherit its score. A new sandbox has only this process and
// the agent. A restored sandbox has all its processes already. The agent is recognised by its program in agentDir. The
// search repeats until it finds no new process: the clone of a process that has no score yet has none either.
func (c *Cgroups) SetOOMScores(id sandbox.ID, sentry, gofer process.Process, agentDir string) error {
	seen := map[process.Process]bool{sentry: true, gofer: true}
	for range maxPasses {
		procs, err := c.Processes(id)
		if err != nil {
			return fmt.Errorf("list processes: %w", err)
		}
		procs = slices.DeleteFunc(procs, func(p process.Process) bool { return seen[p] })
		if len(procs) == 0 {
			break
		}
		slices.SortFunc(procs, older)
		for i, p := range procs {
			points := oomUser
			if (i > 0 || len(seen) > 2) && isAgent(p, agentDir) {
				points = oomAgent
			}
			if err := setOOMScore(p, points); err != nil {
				return fmt.Errorf("process %d: %w", p.PID, err)
			}
			seen[p] = true
		}
	}
	if guests := len(seen) - 2; guests < 2 {
		return fmt.Errorf("found only %d guest processes", guests)
	}
	return nil
}

func older(a, b process.Process) int {
	if a.Start != b.Start {
		return int(a.Start) - int(b.Start)
	}
	return a.PID - b.PID
}

// isAgent recognises the agent by the programs that are mapped into a guest's process. The agent is linked to low
// addresses, so it is among the first maps. If the host denies reading them, the process counts as the agent.
func isAgent(p process.Process, dir string) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", p.PID))
	if err != nil {
		return true
	}
	defer f.Close()
	first := make([]byte, 4<<10)
	n, err := f.Read(first)
	return err != nil && err != io.EOF || bytes.Contains(first[:n], []byte(dir+"/"))
}

// setOOMScore sets the oom_score_adj of a process. It ignores a process that has ended.
func setOOMScore(p process.Process, points int) error {
	err := writeFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID), strconv.Itoa(points))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// Processes lists the processes in a sandbox's memory cgroup.
func (c *Cgroups) Processes(id sandbox.ID) ([]process.Process, error) {
	b, err := os.ReadFile(filepath.Join(c.dir("memory", id), "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var procs []process.Process
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		p, err := process.Identify(pid)
		if err != nil {
			continue
		}
		// The pid could have been reused before Identify, and a caller kills the process.
		if in, err := controllers(id, pid); err == nil && (in["memory"] || c.V2 && in[""]) {
			procs = append(procs, p)
		}
	}
	return procs, nil
}
