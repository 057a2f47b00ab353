package rawio

import (
	"cmp"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// reportEvery is the number of calls of a Row of which one is reported to the scheduler. A cell of a few lines makes
// fewer calls. This number of calls takes less than a millisecond.
const reportEvery = 16

// waits counts how often a stream of this package began to wait. Only the runtime's poller ends such a wait. So after a
// wait of any stream, the poller and other goroutines have run, and every Row counts from 0 again.
var waits atomic.Uint32

// Row counts consecutive calls in one direction of a descriptor. The count begins again when the descriptor has no data
// or no space, and when any stream waits. The calls are read(2) and write(2), which no signal interrupts.
type Row struct {
	calls int
	waits uint32 // value of the variable waits at the last call
}

// Read reads the data that is available. The error is EAGAIN when there is none.
func (r *Row) Read(fd int, p []byte) (int, error) {
	return r.call(syscall.Read, syscall.SYS_READ, fd, p)
}

// Write writes as much as the descriptor accepts. The error is EAGAIN when it accepts nothing.
func (r *Row) Write(fd int, p []byte) (int, error) {
	return r.call(syscall.Write, syscall.SYS_WRITE, fd, p)
}

// call makes one system call. Most calls are raw; reported is the same call with a report to the scheduler.
func (r *Row) call(reported func(int, []byte) (int, error), number uintptr, fd int, p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if n := waits.Load(); n != r.waits {
		*r = Row{waits: n}
	}
	for r.calls++; ; {
		if r.calls%reportEvery == 0 {
			n, err = reported(fd, p)
		} else {
			n, err = raw(number, fd, p)
		}
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			r.calls = 0
		}
		return 0, err
	}
}

func raw(number uintptr, fd int, p []byte) (int, error) {
	n, _, e := syscall.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// EpollReady reports whether a descriptor of an epoll is ready now.
func EpollReady(epoll int) (bool, error) {
	var e syscall.EpollEvent
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&e)), 1, 0, 0, 0)
	if errno != 0 && errno != syscall.EINTR {
		return false, errno
	}
	return errno == 0 && n > 0, nil
}

// EpollModify changes the events for which an epoll watches a descriptor.
func EpollModify(epoll, fd int, e *syscall.EpollEvent) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(epoll), syscall.EPOLL_CTL_MOD, uintptr(fd), uintptr(unsafe.Pointer(e)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Modified returns the time at which an open file or directory was last changed.
func Modified(f *os.File) (t time.Time, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return t, err
	}
	gone := raw.Control(func(fd uintptr) {
		var s syscall.Stat_t
		if _, _, errno := syscall.RawSyscall(syscall.SYS_FSTAT, fd, uintptr(unsafe.Pointer(&s)), 0); errno != 0 {
			err = errno
			return
		}
		t = time.Unix(s.Mtim.Unix())
	})
	return t, cmp.Or(gone, err)
}
