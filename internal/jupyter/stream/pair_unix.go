//go:build unix

package stream

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Pair returns both ends of a new stream. The first end is for this process. The second end is for a child
// process. It is in blocking mode, because ordinary programs expect that. Both ends are close-on-exec: a child
// gets the second end only if it is passed explicitly. The caller must close both ends in this process.
func Pair() (net.Conn, *os.File, error) {
	fds, err := pair()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "stream"), os.NewFile(uintptr(fds[1]), "stream")
	conn, err := net.FileConn(ours) // a copy in non-blocking mode
	if err = errors.Join(err, ours.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// pair makes the sockets. No process can be started between the two steps, so no process inherits them.
func pair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	return fds, err
}
