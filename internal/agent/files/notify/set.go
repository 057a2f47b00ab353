package notify

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"cellhold/internal/rawio"
)

// Set answers for several Watchers whether one of them has events.
type Set struct {
	epoll *os.File
	raw   syscall.RawConn
}

// NewSet returns a set of Watchers. The caller must close it.
func NewSet(list ...*Watcher) (*Set, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	s := &Set{epoll: os.NewFile(uintptr(fd), "epoll")}
	s.raw, err = s.epoll.SyscallConn()
	for _, w := range list {
		var failed error
		gone := w.raw.Control(func(events uintptr) {
			failed = syscall.EpollCtl(fd, syscall.EPOLL_CTL_ADD, int(events), &syscall.EpollEvent{Events: syscall.EPOLLIN})
		})
		err = errors.Join(err, gone, failed)
	}
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// Ready reports whether a Watcher has events to read, with one system call. It returns true if that is unknown.
func (s *Set) Ready() (ready bool) {
	var failed error
	gone := s.raw.Control(func(fd uintptr) { ready, failed = rawio.EpollReady(int(fd)) })
	return ready || gone != nil || failed != nil
}

// Close ends the set. It does not close the Watchers.
func (s *Set) Close() error { return s.epoll.Close() }
