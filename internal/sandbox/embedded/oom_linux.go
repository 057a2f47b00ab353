package embedded

import (
	"bytes"
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

// When a sandbox's memory runs out, the kernel ends the process with the most points: its resident
// memory, plus this many thousandths of the limit. Resident memory says little here: gVisor's
// sentry maps memory into the guest's processes again and again, and each time their count starts
// from nothing, while its own program counts in full. Left alone, the kernel therefore often kills
// the sentry, and with it the session, for what one cell did.
const (
	oomUser  = 1000 // the guest's processes: first
	oomAgent = 500  // the agent's: only if it ate the memory itself
	// The sentry and the gofer keep what they have.

	// maxLooks bounds the looking for new processes: what a guest starts from the second look on has
	// its points from the start.
	maxLooks = 3
)

// orderVictims makes the guest's processes die before the agent, and the agent before the sentry.
// gVisor makes one process at its start of which all later ones are clones that inherit its points.
// In a new sandbox nothing else runs yet; in one that goes on, everything does, and the agent is known
// by its program. It looks again until there is nothing new: what is cloned of a process that has no
// points yet has none either.
func (c *cgroups) orderVictims(id sandbox.ID, r *record) error {
	seen := map[process]bool{r.Sentry: true, r.Gofer: true}
	for range maxLooks {
		procs, err := c.processes(id)
		if err != nil {
			return fmt.Errorf("list processes: %w", err)
		}
		procs = slices.DeleteFunc(procs, func(p process) bool { return seen[p] })
		if len(procs) == 0 {
			break
		}
		slices.SortFunc(procs, older)
		for i, p := range procs {
			points := oomUser
			if (i > 0 || len(seen) > 2) && isAgent(p) {
				points = oomAgent
			}
			if err := p.score(points); err != nil {
				return fmt.Errorf("process %d: %w", p.PID, err)
			}
			seen[p] = true
		}
	}
	if guests := len(seen) - 2; guests < 2 {
		return fmt.Errorf("the sandbox has %d guest processes, too few", guests)
	}
	return nil
}

func older(a, b process) int {
	if a.Start != b.Start {
		return int(a.Start) - int(b.Start)
	}
	return a.PID - b.PID
}

// isAgent tells by the programs that are mapped into a guest's process. The agent's is linked to low
// addresses, so it is among the first. Where the host does not let us look, every process may be the
// agent.
func isAgent(p process) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", p.PID))
	if err != nil {
		return true
	}
	defer f.Close()
	first := make([]byte, 4<<10)
	n, err := f.Read(first)
	return err != nil && err != io.EOF || bytes.Contains(first[:n], []byte(guestBinDir+"/"))
}

// score gives a process points. One that has ended needs none.
func (p process) score(points int) error {
	err := writeFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID), strconv.Itoa(points))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
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
