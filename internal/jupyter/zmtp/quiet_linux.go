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

// quietConn is a connection whose reader can be left asleep for a while, although data arrive. The
// runtime's poller cannot do that: it wakes the process for every piece that arrives, read or not,
// and in gVisor a wake-up costs more than what is done with the piece. So the socket is watched by
// an epoll of its own, and the runtime's poller watches that one.
type quietConn struct {
	net.Conn // for the addresses; closed, but for its names
	fd       int
	poll     *os.File // the epoll

	mu     sync.Mutex
	held   bool
	asleep bool // the reader waits, so data that arrive must wake it unless held
	closed bool
	users  int // system calls that use fd now

	in, out rawio.Row // each belongs to who reads or writes
}

// light is a stream whose calls cost little.
func light(nc net.Conn) (net.Conn, error) {
	if u, ok := nc.(*net.UnixConn); ok {
		return rawio.Conn(u)
	}
	return nc, nil
}

// quiet takes the stream over.
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
		syscall.SetNonblock(poll, true), // or the runtime would not watch it
		syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, c.fd, &syscall.EpollEvent{}),
	); err != nil {
		syscall.Close(poll)
		return err
	}
	c.poll = os.NewFile(uintptr(poll), "epoll")
	return nil
}

// watch says whether data that arrive are reported. The caller holds mu.
func (c *quietConn) watch(on bool) {
	e := syscall.EpollEvent{}
	if on {
		// Once, because it stays true until the reader has come round to reading.
		e.Events = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT
	}
	raw, err := c.poll.SyscallConn()
	if err == nil {
		_ = raw.Control(func(poll uintptr) {
			_ = rawio.EpollModify(int(poll), c.fd, &e)
		})
	}
}

// hold lets data that arrive from now on wait until release. The end of the connection is seen all
// the same.
func (c *quietConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held && !c.closed {
		c.held = true
		if c.asleep {
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
		if c.asleep {
			c.watch(true)
		}
	}
}

// use keeps the descriptor from being closed, and so from becoming somebody else's, while f runs.
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
	c.letGo()
	return n, err
}

// letGo closes what nobody uses any more. The caller holds mu.
func (c *quietConn) letGo() {
	if c.closed && c.users == 0 && c.fd >= 0 {
		syscall.Close(c.fd)
		c.fd = -1
	}
}

// Read reads what is there, or waits.
func (c *quietConn) Read(p []byte) (int, error) {
	for {
		n, err := c.use(func(fd int) (int, error) { return c.in.Read(fd, p) })
		switch {
		case err == nil && n == 0 && len(p) > 0:
			return 0, io.EOF
		case err != syscall.EAGAIN:
			return n, err
		}
		if err := c.sleep(); err != nil {
			return 0, err
		}
	}
}

// sleep waits until there is something to read and no hold.
func (c *quietConn) sleep() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.asleep = true
	if !c.held {
		c.watch(true)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asleep = false
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

// Write writes a subscription or an answer to a heartbeat: a few bytes, for which a socket that
// nobody else writes to has room. A peer that lets them gather is left.
func (c *quietConn) Write(p []byte) (int, error) {
	n, err := c.use(func(fd int) (int, error) { return c.out.Write(fd, p) })
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// Close ends the connection and a waiting Read.
func (c *quietConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.letGo()
	c.mu.Unlock()
	return c.poll.Close()
}

// SetDeadline bounds a waiting Read; writes never wait.
func (c *quietConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline bounds a waiting Read.
func (c *quietConn) SetReadDeadline(t time.Time) error { return c.poll.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writes never wait.
func (c *quietConn) SetWriteDeadline(time.Time) error { return nil }
