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

// brood is a process with all that it started: what is in its session, what bears its mark, and what
// was seen to descend from it.
type brood struct {
	pid   int
	mark  string // a variable in the environment, with its value
	alone bool   // all processes of the kernels' user belong to it, if it is the only kernel
	seen  *descendants
}

// descendants are the processes that were seen to descend from one. A process that has left the session
// is one of them only while all between it and that one are alive, so they have to be looked for before
// something ends.
type descendants struct {
	mu   sync.Mutex
	born map[int]string // when each began, because numbers are used again; the ancestor included
}

func newDescendants(pid int) *descendants {
	return &descendants{born: map[int]string{pid: stateOf(pid).born}}
}

// look finds those that are there now.
func (d *descendants) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, children := map[int]state{}, map[int][]int{}
	for _, pid := range processes() {
		s := stateOf(pid)
		now[pid] = s
		children[s.parent] = append(children[s.parent], pid)
	}
	maps.DeleteFunc(d.born, func(pid int, born string) bool { return now[pid].born != born })
	queue := slices.Collect(maps.Keys(d.born))
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		for _, child := range children[pid] {
			if d.born[child] == "" {
				d.born[child] = now[child].born
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
	return d.born[pid] != "" && d.born[pid] == stateOf(pid).born
}

// sweep kills what a process leaves behind, in rounds until nothing is left.
func (l *Launcher) sweep(p brood) {
	for range killRounds {
		buried := l.reaper.next()
		if !l.killRound(p) {
			return
		}
		select {
		case <-buried:
		case <-time.After(killPatience):
		}
	}
	l.options.Logger.Warn("processes are left", "mark", p.mark)
}

// killRound kills every process of the brood that it finds, and reports whether there were any.
// Those that a signal has already ended but that are not buried yet do not count.
func (l *Launcher) killRound(p brood) bool {
	// As PID 1 the signal reaches every process but us, in one step: nothing can fork its way
	// around it.
	alone := p.alone && l.options.UID != 0 && l.reaper.killAll()
	found := false
	if p.seen != nil {
		p.seen.look()
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

// has reports whether a process belongs to it.
func (p brood) has(pid int) bool {
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

// processes lists the ids of all processes that we can see.
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

// alive reports whether a process still runs, which the dead that nobody has buried do not.
func alive(pid int) bool {
	s := stateOf(pid).letter
	return s != "" && s != "Z" && s != "X"
}

// state is what the operating system says of a process.
type state struct {
	letter string
	parent int
	born   string // in ticks since the system started
}

// stateOf returns the state of a process, the zero state when there is none.
func stateOf(pid int) state {
	const letter, parent, born = 0, 1, 19 // places after the name, see proc(5)
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return state{}
	}
	// The name in brackets is the program's own choice and may contain brackets.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= born {
		return state{}
	}
	s := state{letter: string(fields[letter]), born: string(fields[born])}
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
