package process

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"
)

const (
	prSetNoNewPrivs     = 38
	capabilityVersion3  = 0x20080522
	capabilityDataParts = 2 // version 3 splits 64 bits in two
)

// forkExec starts a program that can never gain privileges. The two settings that bring this about
// belong to the thread that forks, so they are made on a thread that is thrown away afterwards:
// a goroutine that ends while locked to its thread ends the thread.
func forkExec(file string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	var once sync.WaitGroup
	once.Go(func() {
		runtime.LockOSThread()
		// Without this, a setuid program or a file with capabilities in the image would
		// make user code root in the guest.
		if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); e != 0 {
			err = e
			return
		}
		dropBounding()
		if err = dropInheritable(); err != nil {
			return
		}
		pid, err = syscall.ForkExec(file, argv, attr)
	})
	once.Wait()
	return pid, err
}

// keepFiles keeps our files from programs that we start. Go marks those that it opens; those that we
// were started with may be open for everyone.
func keepFiles() error {
	entries, err := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return err
}

// dropBounding empties the set of capabilities that a program could gain, where we may. It is a
// second lock behind no_new_privs, so that we may not is no error.
func dropBounding() {
	for c := range uintptr(64) { // capability sets have 64 bits; those unknown here are refused
		syscall.RawSyscall6(syscall.SYS_PRCTL, syscall.PR_CAPBSET_DROP, c, 0, 0, 0, 0)
	}
}

type capabilityHeader struct {
	version uint32
	pid     int32
}

type capabilityData struct{ effective, permitted, inheritable uint32 }

// dropInheritable clears the one capability set that a change of the user leaves as it is. The
// others are cleared by that change itself.
func dropInheritable() error {
	header := capabilityHeader{version: capabilityVersion3}
	var data [capabilityDataParts]capabilityData
	call := func(number uintptr) error {
		if _, _, e := syscall.RawSyscall(number, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
			return e
		}
		return nil
	}
	if err := call(syscall.SYS_CAPGET); err != nil {
		return err
	}
	for i := range data {
		data[i].inheritable = 0
	}
	return call(syscall.SYS_CAPSET)
}
