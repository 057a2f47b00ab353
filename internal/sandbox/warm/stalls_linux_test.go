package warm

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// urgent returns two connected sockets. Out-of-band data sent to one is urgent data at the other, like a notice of the
// kernel.
func urgent(t *testing.T) (from, to int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	descriptor := func(c net.Conn) int {
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close(); c.Close() })
		return int(f.Fd())
	}
	return descriptor(a), descriptor(b)
}

func TestEachNoticeIsPassedOnUntilTheEnd(t *testing.T) {
	from, to := urgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	notices, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- awaitUrgent(ctx, to, func() {
			_, _, _ = unix.Recvfrom(to, make([]byte, 1), unix.MSG_OOB) // clears the urgent data
			notices <- struct{}{}
		})
	}()
	for range 3 {
		if err := unix.Send(from, []byte{1}, unix.MSG_OOB); err != nil {
			t.Fatal(err)
		}
		select {
		case <-notices:
		case <-time.After(20 * time.Second):
			t.Fatal("a notice was lost")
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("awaitUrgent returned %v at its end, want nil", err)
		}
	case <-notices:
		t.Error("got a notice without urgent data")
	case <-time.After(20 * time.Second):
		t.Fatal("awaitUrgent did not end with its context")
	}
}

func TestTheKernelAcceptsTheTrigger(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := hostStalls(ctx, func() {})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EROFS):
		t.Skipf("this kernel has no pressure notices, or not for this user: %v", err)
	case err != nil:
		t.Error(err)
	}
}
