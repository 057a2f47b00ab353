package process

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"cellhold"
	"cellhold/internal/agent/command"
)

// openTerminal makes a pseudo-terminal: one end for the agent, one for the process.
func (s *streams) openTerminal(size cellhold.Terminal, uid, gid int) error {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	s.terminal, s.in = ours, ours
	s.outputs = []command.Output{{Name: "stdout", Reader: ours}}
	var number, locked uint32
	if err := control(ours, syscall.TIOCGPTN, unsafe.Pointer(&number)); err != nil {
		return err
	}
	if err := control(ours, syscall.TIOCSPTLCK, unsafe.Pointer(&locked)); err != nil {
		return err
	}
	name := "/dev/pts/" + strconv.Itoa(int(number))
	theirs, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	s.files = append(s.files, theirs)
	if uid != 0 {
		// The new owner can open the terminal by its name. If this fails, programs still have it open.
		_ = theirs.Chown(uid, gid)
	}
	return s.resize(size)
}

// resize sets the size of the terminal, which notifies the programs in its foreground.
func (s *streams) resize(t cellhold.Terminal) error {
	size := [4]uint16{uint16(t.Rows), uint16(t.Cols)} // the last two numbers are the size in pixels, which is unused
	return control(s.terminal, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

// foreground returns the process group in the terminal's foreground, or 0 without a terminal.
func (s *streams) foreground() int {
	var group int32
	if s.terminal == nil || control(s.terminal, syscall.TIOCGPGRP, unsafe.Pointer(&group)) != nil {
		return 0
	}
	return int(group)
}

// control calls ioctl on a file without removing it from the poller, as a call of Fd would.
func control(f *os.File, request uintptr, arg unsafe.Pointer) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	if err := c.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg))
	}); err != nil {
		return err
	}
	if errno != 0 {
		return fmt.Errorf("set up a terminal: %w", errno)
	}
	return nil
}
