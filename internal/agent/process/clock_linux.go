package process

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// clockTick is the unit of times in /proc, the same on every Linux that Go runs on. gVisor counts all
// CPU time in these steps.
const clockTick = 10 * time.Millisecond

// CPU returns the CPU time of the process itself. It uses one system call and opens no file, because the agent
// calls it before and after every cell.
func (p *process) CPU() (time.Duration, bool) {
	const schedClock = 2 // CPUCLOCK_SCHED of Linux; the id of the clock also has the inverted process id
	var t syscall.Timespec
	clock := uintptr(^p.pid<<3 | schedClock)
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}

// ChildCPU returns the CPU time of the processes that the process started: those that it has reaped,
// and those that run in its session. A process that left the session counts when it is reaped.
func (p *process) ChildCPU() time.Duration {
	total := time.Duration(0)
	for _, pid := range processes() {
		if sid, err := sessionOf(pid); err != nil || sid != p.pid {
			continue
		}
		own, children := cpuOf(pid)
		total += children
		if pid != p.pid {
			total += own
		}
	}
	return total
}

// cpuOf reads the CPU times of a process and of the children that it has reaped.
func cpuOf(pid int) (own, children time.Duration) {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return 0, 0
	}
	// The program chooses the name in parentheses, which may contain parentheses and spaces.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system, childUser, childSystem = 11, 12, 13, 14 // after the name; see proc(5)
	if len(f) <= childSystem {
		return 0, 0
	}
	ticks := func(i int) time.Duration {
		n, _ := strconv.ParseInt(string(f[i]), 10, 64)
		return time.Duration(n) * clockTick
	}
	return ticks(user) + ticks(system), ticks(childUser) + ticks(childSystem)
}
