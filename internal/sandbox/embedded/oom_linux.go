package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// When a sandbox's memory runs out, the kernel ends the process with the most points: its resident
// memory, plus this many thousandths of the limit. Resident memory says little here: gVisor's
// sentry maps memory into the guest's processes again and again, and each time their count starts
// from nothing, while its own program counts in full. Left alone, the kernel therefore often kills
// the sentry, and with it the session, for what one cell did.
const (
	oomUser  = 1000 // the guest's processes: first
	oomAgent = 500  // the agent's: only if it ate the memory itself
	// The sentry and the gofer keep what they have.
)

// orderVictims makes the guest's processes die before the agent, and the agent before the sentry.
// It is called when the agent has answered for the first time. gVisor makes one process at its start of
// which all later ones are clones that inherit its points. In a fresh sandbox the others are the agent's; in
// one that continues from a snapshot all that were there are back, and the agent is among them.
func (c *cgroups) orderVictims(id sandbox.ID, r *record) error {
	procs, err := c.processes(id)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	procs = slices.DeleteFunc(procs, func(p process) bool {
		return p.PID == r.Sentry.PID || p.PID == r.Gofer.PID
	})
	if len(procs) < 2 {
		return fmt.Errorf("the sandbox has %d guest processes, too few", len(procs))
	}
	slices.SortFunc(procs, func(a, b process) int {
		if a.Start != b.Start {
			return int(a.Start) - int(b.Start)
		}
		return a.PID - b.PID
	})
	for i, p := range procs {
		points := oomAgent
		if i == 0 || r.Spec.From != "" && !runsAgent(p.PID) {
			points = oomUser
		}
		file := fmt.Sprintf("/proc/%d/oom_score_adj", p.PID)
		err := writeFile(file, strconv.Itoa(points))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("process %d: %w", p.PID, err)
		}
	}
	return nil
}

// runsAgent reports whether a process runs the guest's binary, which it has from the host.
func runsAgent(pid int) bool {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	return err == nil && bytes.Contains(maps, []byte(guestBinDir+"/"))
}

// processes lists the processes in a sandbox's memory cgroup.
func (c *cgroups) processes(id sandbox.ID) ([]process, error) {
	b, err := os.ReadFile(filepath.Join(c.dir("memory", id), "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var procs []process
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		if p, err := identify(pid); err == nil {
			procs = append(procs, p)
		}
	}
	return procs, nil
}
