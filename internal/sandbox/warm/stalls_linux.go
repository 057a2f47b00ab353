package warm

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	pressure = "/proc/pressure/memory"
	// trigger asks for a notice when programs have waited for memory for 200 ms within 2 s. A busy host is far below
	// that. A window of 2 s, or a multiple of it, needs no privilege. There is at most one notice in each window.
	trigger = "some 200000 2000000\x00"
)

// hostStalls calls notice when programs wait for memory. Not every kernel has pressure stall information: it can be
// disabled at boot, and older kernels allow it for root only.
func hostStalls(ctx context.Context, notice func()) error {
	// Package os is not used: Go's own poller would poll the file too, and the first poll consumes the notice.
	fd, err := unix.Open(pressure, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", pressure, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(trigger)); err != nil {
		return fmt.Errorf("write %s: %w", pressure, err)
	}
	return awaitUrgent(ctx, fd, notice)
}

// awaitUrgent calls notice when a descriptor has urgent data (POLLPRI), until ctx ends. It occupies a thread, because Go's
// own poller does not wait for urgent data.
func awaitUrgent(ctx context.Context, fd int, notice func()) error {
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		_, _ = unix.Write(end, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an 8-byte counter; the write cannot block
	})
	defer func() {
		if !stop() {
			<-told // otherwise the write could hit a new file with the same descriptor
		}
		_ = unix.Close(end)
	}()
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(end), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case fds[1].Revents != 0:
			return nil
		case fds[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0:
			return errors.New("the kernel sends no more notices")
		case fds[0].Revents&unix.POLLPRI != 0:
			notice()
		}
	}
}
