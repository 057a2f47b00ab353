package warm

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	pressure = "/proc/pressure/memory"
	// trigger asks for a notice when programs have waited for memory for 200 ms within 2 s. A host that
	// merely works hard is far from that. Windows of whole 2 s are those that need no privilege; there is
	// one notice in each at the most.
	trigger = "some 200000 2000000\x00"
)

// hostStalls has the kernel tell when programs wait for memory. Not every kernel has pressure stall
// information, it may be switched off at boot, and older ones let only root ask.
func hostStalls(ctx context.Context, notice func()) error {
	// Not by package os: Go's own poller would look at the file too, and whoever looks first has the notice.
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

// awaitUrgent calls notice whenever a descriptor has something urgent, until ctx ends. It keeps a thread,
// because Go's own poller does not wait for what is urgent.
func awaitUrgent(ctx context.Context, fd int, notice func()) error {
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		_, _ = unix.Write(end, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a count of 8 bytes; there is room for it
	})
	defer func() {
		if !stop() {
			<-told // else it could write to what has its number next
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
			return errors.New("the kernel tells no more")
		case fds[0].Revents&unix.POLLPRI != 0:
			notice()
		}
	}
}
