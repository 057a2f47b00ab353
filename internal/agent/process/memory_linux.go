package process

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"cellhold/internal/jupyter/stream"
)

// memfdCreate has the number of memfd_create(2) for each architecture. Package syscall does not have it.
var memfdCreate = map[string]uintptr{"amd64": 319, "arm64": 279}

const (
	memfdCloseOnExec  = 1
	memfdAllowSealing = 2
	addSeals          = 1033 // a command of fcntl(2)
	sealSeal          = 1
	sealShrink        = 2
	sealGrow          = 4
	memoryHeader      = 64 // bytes; all are zero if a kernel has sent everything
)

// memory is shared with one kernel, which keeps in it what it has not sent. See stream.ReadUnsent. The agent
// never maps it: the kernel could change it while it is read.
type memory struct {
	file *os.File
	once sync.Once
	kept []byte // set by once
}

// newMemory makes a memory whose size cannot change. Otherwise a kernel could fill the agent's memory, or the
// disk.
func newMemory() (*memory, error) {
	number, known := memfdCreate[runtime.GOARCH]
	if !known {
		return nil, errors.ErrUnsupported
	}
	name := []byte("cellhold\x00")
	fd, _, errno := syscall.Syscall(number, uintptr(unsafe.Pointer(&name[0])), memfdCloseOnExec|memfdAllowSealing, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("memfd_create", errno)
	}
	m := &memory{file: os.NewFile(fd, "memory")}
	if err := m.file.Truncate(stream.UnsentSize); err != nil {
		return nil, errors.Join(err, m.file.Close())
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, addSeals, sealSeal|sealShrink|sealGrow); errno != 0 {
		return nil, errors.Join(os.NewSyscallError("fcntl", errno), m.file.Close())
	}
	return m, nil
}

// close frees the memory after the end of its kernel, and returns what the kernel has left there. It can be
// called again, also of nil.
func (m *memory) close() []byte {
	if m == nil {
		return nil
	}
	m.once.Do(func() {
		m.kept = m.read()
		m.file.Close()
	})
	return m.kept
}

// read returns a copy, or nil if the kernel has left nothing.
func (m *memory) read() []byte {
	header := make([]byte, memoryHeader)
	if _, err := m.file.ReadAt(header, 0); err != nil || bytes.Count(header, []byte{0}) == memoryHeader {
		return nil
	}
	b := make([]byte, stream.UnsentSize)
	if _, err := m.file.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil
	}
	return b
}
