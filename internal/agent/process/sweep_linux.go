package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// brood is a process with all that it started: what is in its session, and what bears its mark.
type brood struct {
	pid   int
	mark  string // a variable in the environment, with its value
	alone bool   // all processes of the kernels' user belong to it, if it is the only kernel
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

// has reports whether a process is in the session or bears the mark.
func (p brood) has(pid int) bool {
	if sid, err := sessionOf(pid); err == nil && sid == p.pid {
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
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return false
	}
	// The name in brackets is the program's own choice and may contain brackets.
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return ok && len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
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
