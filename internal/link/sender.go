package link

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// sender is the half of a connection that yamux writes to.
//
// It joins the two writes that yamux makes for a data frame, header and body. One write needs half the system calls, and
// wakes the other end half as often.
//
// It also ends one direction of a stream. yamux can do this only by Close, and gives up the other direction after
// streamCloseTimeout.
type sender struct {
	emit func([]byte) error

	writing sync.Mutex // held during one write
	pending []byte     // a data header whose body is still missing
	ends    []byte     // frames that end streams; they follow the pending frame

	mu     sync.Mutex
	ended  map[uint32]bool // streams that finish has ended, and yamux has not
	closed bool
	run    sync.WaitGroup
}

// Write is called by one goroutine only, the sender of yamux.
func (s *sender) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if len(s.pending) == 0 {
		switch {
		case s.endsTwice(p):
			return len(p), nil
		case announcesBody(p):
			s.pending = append(s.pending, p...)
			return len(p), nil
		}
	}
	piece := p
	if len(s.pending) > 0 {
		s.pending = append(s.pending, p...)
		piece = s.pending
		s.pending = s.pending[:0]
	}
	if len(s.ends) > 0 {
		piece = append(piece[:len(piece):len(piece)], s.ends...)
		s.ends = nil
	}
	if err := s.emit(piece); err != nil {
		return 0, err
	}
	return len(p), nil
}

func announcesBody(p []byte) bool {
	return len(p) == muxHeader && p[1] == muxData && binary.BigEndian.Uint32(p[8:]) > 0
}

// endsTwice looks at a header of yamux. It reports whether the header ends a stream that finish has ended.
func (s *sender) endsTwice(header []byte) bool {
	flags, id := binary.BigEndian.Uint16(header[2:]), binary.BigEndian.Uint32(header[4:])
	if flags&muxFlagFIN == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	twice := s.ended[id]
	delete(s.ended, id)
	return twice
}

// finish tells the other end that no more bytes follow on a stream. All writes to the stream must have returned. yamux
// ends the stream later, when its owner closes it, and Write drops the frame for this.
func (s *sender) finish(id uint32) error {
	sent := make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrLost
	}
	if s.ended == nil {
		s.ended = map[uint32]bool{}
	}
	s.ended[id] = true
	s.run.Go(func() { sent <- s.sendEnd(id) })
	s.mu.Unlock()
	timeout := time.NewTimer(writeTimeout)
	defer timeout.Stop()
	select {
	case err := <-sent:
		return err
	case <-timeout.C:
		return yamux.ErrConnectionWriteTimeout
	}
}

func (s *sender) sendEnd(id uint32) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	end := []byte{muxVersion, muxWindow, 0, muxFlagFIN}
	end = binary.BigEndian.AppendUint32(end, id)
	end = binary.BigEndian.AppendUint32(end, 0)
	if len(s.pending) > 0 {
		s.ends = append(s.ends, end...)
		return nil
	}
	return s.emit(end)
}

// close waits until finish writes no more. The connection must be closed, or its other end must read.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.run.Wait()
}
