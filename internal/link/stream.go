package link

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// stream is a yamux stream whose errors distinguish a lost stream from an orderly end.
type stream struct {
	*yamux.Stream
	sender *sender
	open   *openStreams // nil in the guest

	mu    sync.Mutex
	ended bool // by Close or CloseWrite
}

// Read returns io.EOF only if the other end has ended the stream.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == io.EOF && !s.finished() {
		err = ErrLost
	}
	return n, err
}

// finished reports whether the other end sends no more bytes. The host does not trust the state of yamux, which does not
// tell the end by the guest from an end by a lost link.
func (s *stream) finished() bool {
	if s.open == nil {
		return !s.Session().IsClosed()
	}
	return s.open.finished(s.StreamID())
}

// Write returns an error after CloseWrite, as yamux does after Close.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended {
		return 0, yamux.ErrStreamClosed
	}
	return s.Stream.Write(p)
}

// CloseWrite tells the other end that no more bytes follow. Reads continue, as long as the owner wants. The owner must
// still call Close.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil
	}
	s.ended = true
	s.mu.Unlock()
	return s.sender.finish(s.StreamID())
}

// Close also wakes a blocked reader. Usually the close of the guest does this, but a paused guest sends none. On the
// host, Close frees the received bytes, and the bytes that still arrive are dropped. yamux would keep them until the guest
// closes the stream too, and a hostile guest never does.
func (s *stream) Close() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	if s.open != nil {
		s.open.remove(s.StreamID())
	}
	err := errors.Join(s.Stream.Close(), s.Stream.SetReadDeadline(time.Unix(1, 0)))
	if s.open != nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(s.Stream, muxMaxBody)) // ends at the deadline
		s.Stream.Shrink()
	}
	return err
}

// openStreams has the streams that are open on the host, and whether the guest has ended them.
type openStreams struct {
	mu       sync.Mutex
	finishes map[uint32]bool
}

func (o *openStreams) add(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finishes[id] = false
}

func (o *openStreams) remove(id uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.finishes, id)
}

func (o *openStreams) finished(id uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.finishes[id]
}

// hear takes the flags of a frame of the guest. It reports whether the stream is open on the host.
func (o *openStreams) hear(id uint32, flags uint16) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	finished, open := o.finishes[id]
	if open {
		o.finishes[id] = finished || flags&muxFlagFIN != 0
	}
	return open
}
