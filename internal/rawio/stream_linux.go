package rawio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// stream has the code that pipes and sockets share. One goroutine at a time can read, and one can write.
type stream struct {
	raw              syscall.RawConn
	read, write, try func(fd uintptr) bool // bound once; method values would be allocated at each call

	in    Row
	into  []byte
	got   int
	inErr error

	out    Row
	from   []byte // data that is not written yet
	outErr error
}

func newStream(c syscall.Conn) (*stream, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{raw: raw}
	s.read, s.write, s.try = s.tryRead, s.tryWrite, s.tryOnce
	return s, nil
}

func (s *stream) tryRead(fd uintptr) bool {
	s.got, s.inErr = s.in.Read(int(fd), s.into)
	return s.inErr != syscall.EAGAIN || beginWait()
}

// beginWait records that a stream begins to wait. It returns false, so that the runtime's poller waits.
func beginWait() (done bool) {
	waits.Add(1)
	return false
}

func (s *stream) tryWrite(fd uintptr) bool {
	for len(s.from) > 0 {
		n, err := s.out.Write(int(fd), s.from)
		if err != nil {
			s.outErr = err
			return err != syscall.EAGAIN || beginWait()
		}
		s.from = s.from[n:]
	}
	s.outErr = nil
	return true
}

// tryOnce returns true, so that the runtime's poller does not wait for space.
func (s *stream) tryOnce(fd uintptr) bool {
	var n int
	if n, s.outErr = s.out.Write(int(fd), s.from); s.outErr == syscall.EAGAIN {
		s.outErr = nil
	}
	s.from = s.from[n:]
	return true
}

// Read reads the data that is available. It waits until there is some.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.into = p
	err := s.raw.Read(s.read)
	s.into = nil
	switch {
	case err != nil:
		return 0, known(err)
	case s.inErr != nil:
		return 0, os.NewSyscallError("read", s.inErr)
	case s.got == 0:
		return 0, io.EOF
	}
	return s.got, nil
}

// Write writes all of p, and waits while the descriptor accepts nothing.
func (s *stream) Write(p []byte) (int, error) { return s.writeBy(s.write, p) }

// TryWrite writes as much of p as the descriptor accepts now, which can be nothing. It does not wait.
func (s *stream) TryWrite(p []byte) (int, error) { return s.writeBy(s.try, p) }

func (s *stream) writeBy(write func(fd uintptr) bool, p []byte) (int, error) {
	s.from = p
	err := s.raw.Write(write)
	n := len(p) - len(s.from)
	s.from = nil
	if err != nil {
		return n, known(err)
	}
	if s.outErr != nil {
		return n, os.NewSyscallError("write", s.outErr)
	}
	return n, nil
}

// known returns an error that callers can test for. It keeps the errors of a deadline and of package net. The only
// other error is the runtime's own error for a closed file, which os.ErrClosed replaces.
func known(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return err
	}
	return os.ErrClosed
}

type pipe struct {
	*stream
	file *os.File
}

// Pipe returns a pipe that is read and written with this package. It owns f.
func Pipe(f *os.File) (io.ReadWriteCloser, error) {
	s, err := newStream(f)
	if err != nil {
		return nil, err
	}
	return &pipe{s, f}, nil
}

func (p *pipe) Close() error { return p.file.Close() }

type conn struct {
	*net.UnixConn
	stream *stream
}

// Conn returns a connection that is read and written with this package. It owns u.
func Conn(u *net.UnixConn) (net.Conn, error) {
	s, err := newStream(u)
	if err != nil {
		return nil, err
	}
	return &conn{u, s}, nil
}

func (c *conn) Read(p []byte) (int, error)  { return c.stream.Read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.stream.Write(p) }

// TryWrite writes as much of p as the socket accepts now, which can be nothing. It does not wait.
func (c *conn) TryWrite(p []byte) (int, error) { return c.stream.TryWrite(p) }
