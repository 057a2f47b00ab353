package process

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// clockTick is the unit of the times in /proc, the same on every Linux that Go runs on. gVisor counts
// processor time in these steps, everywhere.
const clockTick = 10 * time.Millisecond

// CPU is the processor time that the process itself has used: one system call that opens no file,
// because it is asked for at both ends of every cell.
func (p *process) CPU() (time.Duration, bool) {
	const schedClock = 2 // of a process, by its inverted number
	var t syscall.Timespec
	clock := uintptr(^p.pid<<3 | schedClock)
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}

// ChildCPU is the processor time of what the process started: those it has buried and those that run in
// its session. One that left the session counts when it is buried.
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

// cpuOf reads what a process and the children that it has buried used.
func cpuOf(pid int) (own, children time.Duration) {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return 0, 0
	}
	// The name in brackets is the program's own choice and may contain brackets and spaces.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system, childUser, childSystem = 11, 12, 13, 14 // behind the name; see proc(5)
	if len(f) <= childSystem {
		return 0, 0
	}
	ticks := func(i int) time.Duration {
		n, _ := strconv.ParseInt(string(f[i]), 10, 64)
		return time.Duration(n) * clockTick
	}
	return ticks(user) + ticks(system), ticks(childUser) + ticks(childSystem)
}
