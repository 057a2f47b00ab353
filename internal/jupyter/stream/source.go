package stream

import (
	"errors"
	"net"
	"os"
)

// source reads the bytes of a socket. After the end of the socket, it reads the bytes that continue them.
type source struct {
	nc   net.Conn
	more func(read int64, end error) []byte // Options.Rest; can be nil
	read int64                              // number of bytes that came from the socket
	end  error                              // reason of the socket's end; nil before it
	rest []byte                             // bytes after those of the socket that are not read yet
}

func (s *source) Read(p []byte) (int, error) {
	if s.end == nil {
		n, err := s.nc.Read(p)
		s.read += int64(n)
		if err == nil || n > 0 {
			return n, nil // the next read returns the error again
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

// continuation returns the bytes that follow those of the socket. After a Close on this side it returns nil,
// because the socket was not read to its end. A kernel that dies with unread requests resets the connection;
// this error comes after all bytes that the kernel had sent.
func (s *source) continuation() []byte {
	if s.more == nil || errors.Is(s.end, net.ErrClosed) || errors.Is(s.end, os.ErrClosed) {
		return nil
	}
	return s.more(s.read, s.end)
}
