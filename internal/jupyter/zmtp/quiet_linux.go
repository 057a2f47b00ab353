package zmtp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"cellhold/internal/rawio"
)

// quietConn is a connection whose reader can keep sleeping for some time although data arrive. The
// runtime's poller cannot do that: it wakes the process for every piece of data, read or not. In gVisor a
// wake-up costs more than the work on the piece. So the socket is watched by an epoll of its own, and the
// runtime's poller watches that epoll.
type quietConn struct {
	net.Conn // for the addresses; it is closed
	fd       int
	poll     *os.File // the epoll

	mu          sync.Mutex
	held        bool
	readerWaits bool // the reader waits, so new data must wake it unless held
	closed      bool
	users       int // system calls that use fd now

	in, out rawio.Row // in belongs to the reader, out to the writer
}

// light returns a stream whose calls cost less, if it is a unix socket.
func light(nc net.Conn) (net.Conn, error) {
	if u, ok := nc.(*net.UnixConn); ok {
		return rawio.Conn(u)
	}
	return nc, nil
}

// quiet returns a quietConn for the socket of the stream, and closes the stream. A stream that is not a unix
// socket is returned unchanged.
func quiet(nc net.Conn) (net.Conn, error) {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return nc, nil
	}
	defer u.Close()
	fd, err := dupOf(u)
	if err != nil {
		return nil, fmt.Errorf("zmtp: duplicate the socket: %w", err)
	}
	c := &quietConn{Conn: nc, fd: fd}
	if err := c.openPoll(); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("zmtp: watch the socket: %w", err)
	}
	return c, nil
}

func dupOf(u *net.UnixConn) (fd int, err error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var dupErr error
	err = raw.Control(func(old uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, dupErr = syscall.Dup(int(old)); dupErr == nil {
			syscall.CloseOnExec(fd)
		}
	})
	return fd, errors.Join(err, dupErr)
}

func (c *quietConn) openPoll() error {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := errors.Join(
		syscall.SetNonblock(poll, true), // otherwise the runtime would not watch it
		syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, c.fd, &syscall.EpollEvent{}),
	); err != nil {
		syscall.Close(poll)
		return err
	}
	c.poll = os.NewFile(uintptr(poll), "epoll")
	return nil
}

// watch sets whether new data are reported. The caller must hold mu.
func (c *quietConn) watch(on bool) {
	e := syscall.EpollEvent{}
	if on {
		// One report is enough, because it stays pending until the reader reads.
		e.Events = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT
	}
	raw, err := c.poll.SyscallConn()
	if err == nil {
		_ = raw.Control(func(poll uintptr) {
			_ = rawio.EpollModify(int(poll), c.fd, &e)
		})
	}
}

// hold lets new data wait until release. The end of the connection is still reported.
func (c *quietConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held && !c.closed {
		c.held = true
		if c.readerWaits {
			c.watch(false)
		}
	}
}

// release undoes hold.
func (c *quietConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held && !c.closed {
		c.held = false
		if c.readerWaits {
			c.watch(true)
		}
	}
}

// use runs f with the descriptor. In that time it cannot be closed, so its number cannot be reused for
// another file.
func (c *quietConn) use(f func(fd int) (int, error)) (int, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	c.users++
	c.mu.Unlock()
	n, err := f(c.fd)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
	c.closeUnused()
	return n, err
}

// closeUnused closes the descriptor when it is no longer used. The caller must hold mu.
func (c *quietConn) closeUnused() {
	if c.closed && c.users == 0 && c.fd >= 0 {
		syscall.Close(c.fd)
		c.fd = -1
	}
}

// Read reads the data that is available. It waits until there is some.
func (c *quietConn) Read(p []byte) (int, error) {
	for {
		n, err := c.use(func(fd int) (int, error) { return c.in.Read(fd, p) })
		switch {
		case err == nil && n == 0 && len(p) > 0:
			return 0, io.EOF
		case err != syscall.EAGAIN:
			return n, err
		}
		if err := c.waitReadable(); err != nil {
			return 0, err
		}
	}
}

// waitReadable waits until there is something to read and no hold.
func (c *quietConn) waitReadable() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.readerWaits = true
	if !c.held {
		c.watch(true)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.readerWaits = false
	}()
	raw, err := c.poll.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(poll uintptr) bool {
		ready, err := rawio.EpollReady(int(poll))
		return ready || err != nil
	})
}

// Write writes a subscription or an answer to a heartbeat. Both have only a few bytes, and nothing else is
// written, so the socket has space for them. If the peer does not read them, the write fails.
func (c *quietConn) Write(p []byte) (int, error) {
	n, err := c.use(func(fd int) (int, error) { return c.out.Write(fd, p) })
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// TryWrite is Write, which never waits.
func (c *quietConn) TryWrite(p []byte) (int, error) { return c.Write(p) }

// Close ends the connection and a waiting Read.
func (c *quietConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.closeUnused()
	c.mu.Unlock()
	return c.poll.Close()
}

// SetDeadline bounds a waiting Read; writes never wait.
func (c *quietConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline bounds a waiting Read.
func (c *quietConn) SetReadDeadline(t time.Time) error { return c.poll.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writes never wait.
func (c *quietConn) SetWriteDeadline(time.Time) error { return nil }
