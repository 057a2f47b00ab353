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
	capabilityDataParts = 2 // version 3 splits 64 bits into two words
)

// forkExec starts a program that can never gain privileges. The two settings for this belong to the thread
// that forks. So they are made on a thread that ends afterwards: a goroutine that ends while it is locked
// to its thread ends the thread.
func forkExec(file string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread()
		// Without this, a setuid program or a file with capabilities in the image would make user code root
		// in the guest.
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
	thread.Wait()
	return pid, err
}

// closeFilesOnExec makes sure that programs do not inherit the agent's files. Go marks the files that it opens.
// closeFilesOnExec marks the files with which the agent was started.
func closeFilesOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return err
}

// dropBounding empties the set of capabilities that a program could gain, if the agent has that right. It
// is a second protection in addition to no_new_privs, so a missing right is no error.
func dropBounding() {
	for c := range uintptr(64) { // capability sets have 64 bits; the kernel refuses unknown ones
		syscall.RawSyscall6(syscall.SYS_PRCTL, syscall.PR_CAPBSET_DROP, c, 0, 0, 0, 0)
	}
}

type capabilityHeader struct {
	version uint32
	pid     int32
}

type capabilityData struct{ effective, permitted, inheritable uint32 }

// dropInheritable clears the one capability set that a change of the user does not clear.
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
