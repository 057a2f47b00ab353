package process

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// processTree is a process with all processes that it started: those in its session, those with its mark, and
// those that were seen to descend from it.
type processTree struct {
	pid   int
	mark  string // a variable in the environment, with its value
	alone bool   // all processes of the kernels' user belong to it, if it is the only kernel
	seen  *descendants
}

// descendants are the processes that were seen to descend from one ancestor. A process that has left the
// session can be recognised only while all processes between it and the ancestor are alive. So descendants
// must be found before any of them ends.
type descendants struct {
	mu    sync.Mutex
	began map[int]string // start time by process id, because ids are reused; includes the ancestor
}

func newDescendants(pid int) *descendants {
	return &descendants{began: map[int]string{pid: stateOf(pid).began}}
}

// update adds the descendants that exist now, and removes processes that have ended.
func (d *descendants) update() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, children := map[int]state{}, map[int][]int{}
	for _, pid := range processes() {
		s := stateOf(pid)
		now[pid] = s
		children[s.parent] = append(children[s.parent], pid)
	}
	maps.DeleteFunc(d.began, func(pid int, began string) bool { return now[pid].began != began })
	queue := slices.Collect(maps.Keys(d.began))
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		for _, child := range children[pid] {
			if d.began[child] == "" {
				d.began[child] = now[child].began
				queue = append(queue, child)
			}
		}
	}
}

func (d *descendants) has(pid int) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began[pid] != "" && d.began[pid] == stateOf(pid).began
}

// sweep kills the processes of a tree, in rounds until none is left.
func (l *Launcher) sweep(p processTree) {
	for range killRounds {
		ended := l.reaper.next()
		if !l.killRound(p) {
			return
		}
		select {
		case <-ended:
		case <-time.After(killPatience):
		}
	}
	l.options.Logger.Warn("processes could not be killed", "mark", p.mark)
}

// killRound kills every process of the tree that it finds, and reports whether there were any. Processes
// that have ended but are not reaped yet do not count.
func (l *Launcher) killRound(p processTree) bool {
	// As PID 1 one signal reaches every process except the agent in one step. No process can escape it by a
	// fork.
	alone := p.alone && l.options.UID != 0 && l.reaper.killAll()
	found := false
	if p.seen != nil {
		p.seen.update()
	}
	for _, pid := range processes() {
		if pid == os.Getpid() || !alive(pid) || !(alone && l.isUsers(pid) || p.has(pid)) {
			continue
		}
		found = true
		if !alone {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return found
}

// has reports whether a process belongs to the tree.
func (p processTree) has(pid int) bool {
	if sid, err := sessionOf(pid); err == nil && sid == p.pid || p.seen.has(pid) {
		return true
	}
	env, err := os.ReadFile(procFile(pid, "environ"))
	return err == nil && hasMark(env, p.mark)
}

func hasMark(env []byte, mark string) bool {
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if string(v) == mark {
			return true
		}
	}
	return false
}

func (l *Launcher) isUsers(pid int) bool { return isOf(pid, l.options.UID) }

func isOf(pid, uid int) bool {
	st, err := os.Stat(procFile(pid, ""))
	if err != nil {
		return false
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == uid
}

// processes returns the ids of all processes that the agent can see.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// alive reports whether a process runs. A process that has ended but is not reaped yet does not run.
func alive(pid int) bool {
	s := stateOf(pid).letter
	return s != "" && s != "Z" && s != "X"
}

// state is the state of a process as the operating system reports it.
type state struct {
	letter string
	parent int
	began  string // start time, in ticks since the start of the system
}

// stateOf returns the state of a process, or the zero state when there is none.
func stateOf(pid int) state {
	const letter, parent, began = 0, 1, 19 // positions after the name, see proc(5)
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return state{}
	}
	// The program chooses the name in parentheses, which may contain parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= began {
		return state{}
	}
	s := state{letter: string(fields[letter]), began: string(fields[began])}
	s.parent, _ = strconv.Atoi(string(fields[parent]))
	return s
}

func sessionOf(pid int) (int, error) {
	sid, _, e := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(sid), nil
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
