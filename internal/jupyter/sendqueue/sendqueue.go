// Package sendqueue sends frames to a peer that can stop reading.
//
// Send never waits. It writes as much of a frame as the socket takes. The rest goes into a queue, and a goroutine
// writes it when the peer reads again. So a peer that does not read blocks no caller, and a frame is never cut. The
// caller of Send bounds the queue.
//
// The package does not read, and does not know the form of a frame.
package sendqueue

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

// ErrFull marks a frame that was not sent, because too many bytes wait for the peer.
var ErrFull = errors.New("the peer does not read")

// frameCost is the memory for one frame in the queue, in addition to its bytes.
const frameCost = 64

// Queue is the sending half of a connection. Its methods are safe for concurrent use.
type Queue struct {
	nc  net.Conn
	now func(p []byte) (int, error) // writes what the socket takes without a wait

	mu      sync.Mutex
	frames  [][]byte      // not written yet; the first one can be the unsent end of a frame
	bytes   int           // cost of frames, and of the frame that the goroutine writes
	writing bool          // a goroutine runs
	ended   chan struct{} // closed when the last goroutine has ended; nil before the first one
	err     error         // why nothing can be sent any more
}

// New returns the sending half of nc. The queue owns nc. From now on only the queue can write to nc. A connection of
// package rawio costs the fewest calls.
func New(nc net.Conn) *Queue { return &Queue{nc: nc, now: tryWrite(nc)} }

// Send sends a frame after all earlier ones, and does not wait. The queue owns the frame. If frames wait and the frame
// would make them larger than limit, the error is ErrFull and no byte of the frame is sent. After any other error
// nothing can be sent.
func (q *Queue) Send(frame []byte, limit int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return q.err
	case q.writing && q.bytes+len(frame)+frameCost > limit:
		return fmt.Errorf("%w: %d bytes wait; the limit is %d", ErrFull, q.bytes, limit)
	case !q.writing:
		n, err := q.now(frame)
		if err != nil {
			q.err = err
			return err
		}
		if n == len(frame) {
			return nil
		}
		frame = frame[n:]
		q.writing, q.ended = true, make(chan struct{})
		go q.write(q.ended) // Close waits for it
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame) + frameCost
	return nil
}

// write writes the queue until it is empty or the connection has ended.
func (q *Queue) write(ended chan<- struct{}) {
	defer close(ended)
	for {
		q.mu.Lock()
		if len(q.frames) == 0 || q.err != nil {
			q.frames, q.bytes, q.writing = nil, 0, false
			q.mu.Unlock()
			return
		}
		frame := q.frames[0]
		q.frames[0] = nil // the array would keep its memory
		q.frames = q.frames[1:]
		q.mu.Unlock()
		_, err := q.nc.Write(frame)
		q.mu.Lock()
		if q.bytes -= len(frame) + frameCost; err != nil && q.err == nil {
			q.err = err
		}
		q.mu.Unlock()
	}
}

// Drain waits until no frame waits, or nothing can be sent any more.
func (q *Queue) Drain() {
	q.mu.Lock()
	ended := q.ended
	q.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// Close closes the connection, and discards the frames that wait. It can be called twice.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.err == nil {
		q.err = net.ErrClosed
	}
	q.mu.Unlock()
	err := q.nc.Close()
	q.Drain()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tryWrite returns a function that writes what nc takes without a wait. If nc cannot do this, the function writes
// nothing, and the goroutine of Queue.write writes all frames.
func tryWrite(nc net.Conn) func(p []byte) (int, error) {
	if t, ok := nc.(interface {
		TryWrite(p []byte) (int, error)
	}); ok {
		return t.TryWrite
	}
	return func([]byte) (int, error) { return 0, nil }
}
