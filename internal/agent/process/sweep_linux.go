package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// sweep kills what a kernel leaves behind, in rounds until nothing is left.
func (l *Launcher) sweep(p *process) {
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
	l.options.Logger.Warn("processes of a kernel are left", "kernel", filepath.Base(p.dir))
}

// killRound kills every process of the kernel that it finds, and reports whether there were any.
// Those that a signal has already ended but that are not buried yet do not count.
func (l *Launcher) killRound(p *process) bool {
	// As PID 1 the signal reaches every process but us, in one step: nothing can fork its way
	// around it.
	alone := l.options.UID != 0 && l.reaper.killAll()
	found := false
	for _, pid := range processes() {
		if pid == os.Getpid() || !alive(pid) || !(alone && l.isUsers(pid) || l.belongs(p, pid)) {
			continue
		}
		found = true
		if !alone {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return found
}

// belongs reports whether a process is in the kernel's session or bears its mark.
func (l *Launcher) belongs(p *process, pid int) bool {
	if sid, err := sessionOf(pid); err == nil && sid == p.pid {
		return true
	}
	env, err := os.ReadFile(procFile(pid, "environ"))
	return err == nil && hasMark(env, filepath.Base(p.dir))
}

func hasMark(env []byte, value string) bool {
	want := []byte(mark + "=" + value)
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}

func (l *Launcher) isUsers(pid int) bool {
	st, err := os.Stat(procFile(pid, ""))
	if err != nil {
		return false
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == l.options.UID
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
