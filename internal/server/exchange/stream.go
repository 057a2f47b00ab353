package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// smallRecord is the size in bytes up to which a record takes no memory of the server's budget.
const smallRecord = 64 << 10

// ErrLeft marks the error of a stream whose reader left, or reads too slowly.
var ErrLeft = errors.New("the reader left")

// Stream is an answer that is sent in parts, with signs of life between them.
type Stream struct {
	w      http.ResponseWriter
	ctx    context.Context
	cancel context.CancelCauseFunc
	signs  sync.WaitGroup
	turn   chan struct{} // capacity 1: held while a part is written
}

// NewStream returns a stream that is written to w. The returned context ends with Close. If a sign of life finds that the
// reader left, it ends with ErrLeft. The caller must call Close before the handler returns.
func NewStream(ctx context.Context, w http.ResponseWriter) (*Stream, context.Context) {
	s := &Stream{w: w, turn: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s, s.ctx
}

// Close ends the signs of life and waits for the last one.
func (s *Stream) Close() {
	s.cancel(nil)
	s.signs.Wait()
}

// Send calls write, which must write one part to the answer, and sends the part at once. size is the size of the record
// from which the part is made. A large record takes memory of the server's budget only until the iteration over the records
// continues. So the caller must call Send inside the iteration. A reader of such a part must be steady.
func (s *Stream) Send(size int, write func() error) error {
	return s.send(size > smallRecord, write)
}

func (s *Stream) send(steady bool, write func() error) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if steady {
		defer Steady(s.w)()
	}
	err := write()
	if err == nil {
		err = http.NewResponseController(s.w).Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLeft, err)
	}
	return nil
}

// KeepAlive begins to send a sign of life at each interval. Only one goroutine can call Send and KeepAlive.
func (s *Stream) KeepAlive(interval time.Duration, write func() error) {
	s.signs.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-tick.C:
				// A record that takes memory of the server's budget can wait for this sign.
				if err := s.send(true, write); err != nil {
					s.cancel(err)
					return
				}
			}
		}
	})
}
