package process

import (
	"fmt"
	"os"
	"runtime"
	"slices"
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

// forkExec starts a program that can never gain privileges. No path leads it to the agent's files. The settings for
// this belong to the thread that forks. So they are made on a thread that ends afterwards: a goroutine that ends while
// it is locked to its thread ends the thread.
func forkExec(file string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread()
		if syscall.Gettid() == syscall.Getpid() {
			// The main thread does not end with its goroutine, and /proc/self shows its descriptors. While it waits
			// here, the next goroutine has another thread.
			defer runtime.UnlockOSThread()
			pid, err = forkExec(file, argv, attr)
			return
		}
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
		if err = loseFiles(attr.Files); err != nil {
			return
		}
		pid, err = syscall.ForkExec(file, argv, attr)
	})
	thread.Wait()
	return pid, err
}

// loseFiles gives the thread a table of descriptors of its own, and closes the files and directories in it, except
// keep. A child has the table of this thread until it executes its program. Until then it follows paths that callers and
// user code choose: the working directory, the program, and the interpreter of a script. With the agent's table,
// /proc/self/fd would lead it to the agent's files. The Go runtime needs the other descriptors of the table.
func loseFiles(keep []uintptr) error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_UNSHARE, syscall.CLONE_FILES, 0, 0); e != 0 {
		return fmt.Errorf("separate the descriptors of a new process: %w", e)
	}
	fds, err := threadFiles()
	if err != nil {
		return fmt.Errorf("list the descriptors of a new process: %w", err)
	}
	for _, fd := range fds {
		var st syscall.Stat_t
		if slices.Contains(keep, uintptr(fd)) || syscall.Fstat(fd, &st) != nil {
			continue
		}
		if kind := st.Mode & syscall.S_IFMT; kind == syscall.S_IFREG || kind == syscall.S_IFDIR {
			syscall.Close(fd)
		}
	}
	return nil
}

// threadFiles returns the descriptors of the thread. It uses no file of package os, which the runtime could register
// in the table of this thread.
func threadFiles() (fds []int, err error) {
	dir, err := syscall.Open("/proc/thread-self/fd", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(dir)
	var names []string
	for buffer := make([]byte, 8<<10); ; {
		n, err := syscall.ReadDirent(dir, buffer)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		_, _, names = syscall.ParseDirent(buffer[:n], -1, names)
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd != dir {
			fds = append(fds, fd)
		}
	}
	return fds, nil
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
