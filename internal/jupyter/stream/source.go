package stream

import (
	"errors"
	"net"
	"os"
)

// source has the bytes of a socket, and then those that continue them.
type source struct {
	nc   net.Conn
	more func(read int64, end error) []byte // or nil
	read int64                              // bytes from the socket
	end  error                              // of the socket
	rest []byte                             // bytes that follow
}

func (s *source) Read(p []byte) (int, error) {
	if s.end == nil {
		n, err := s.nc.Read(p)
		s.read += int64(n)
		if err == nil || n > 0 {
			return n, nil // an error comes again
		}
		s.end = err
		s.rest = s.continuation()
	}
	if len(s.rest) == 0 {
		return 0, s.end
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// continuation returns the bytes that follow those of the socket. A socket that this end has closed was not
// read to its end, so nothing can follow. A kernel that dies with unread requests resets the connection; all
// that it had sent comes before that error.
func (s *source) continuation() []byte {
	if s.more == nil || errors.Is(s.end, net.ErrClosed) || errors.Is(s.end, os.ErrClosed) {
		return nil
	}
	return s.more(s.read, s.end)
}
