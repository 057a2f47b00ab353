package command

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"cellhold"
)

const (
	// inputBytes bounds the standard input that waits for the command. It is so large that a command that
	// reads fast does not wait for the host.
	inputBytes = 256 << 10
	// inputPiece is the amount of a request that is read at once.
	inputPiece = 32 << 10
	// endOfText ends the input of a terminal, on a line of its own.
	endOfText = 4
)

// input passes standard input to a command, in order.
type input struct {
	w        io.WriteCloser
	terminal bool
	sending  chan struct{} // capacity 1: held by the request whose bytes are next
	ready    chan struct{} // capacity 1: a token when there are bytes to write
	space    chan struct{} // capacity 1: a token when there is space, or when a write has failed
	stopped  chan struct{} // closed at the end of the command

	mu     sync.Mutex
	queue  []byte
	offset int64 // bytes received since the start
	eof    bool  // no more bytes follow
	broken bool  // the command no longer reads
}

func newInput(w io.WriteCloser, terminal bool) *input {
	return &input{w: w, terminal: terminal, sending: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		space: make(chan struct{}, 1), stopped: make(chan struct{})}
}

var errClosed = cellhold.Errorf(cellhold.Conflict, "The command's standard input is closed.")

// take receives the bytes of a request; see Commands.Input.
func (in *input) take(ctx context.Context, body io.Reader, at int64, eof bool, patience time.Duration) (int64, error) {
	select {
	case in.sending <- struct{}{}:
	case <-in.stopped:
		return 0, errEnded
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-in.sending }()
	if err := in.skip(body, at); err != nil {
		return in.taken(), err
	}
	buf := make([]byte, inputPiece)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if err := in.put(ctx, buf[:n], patience); err != nil {
				return in.taken(), err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in.taken(), err
		}
	}
	if eof {
		in.finish()
	}
	return in.taken(), nil
}

// skip drops bytes that were received before.
func (in *input) skip(body io.Reader, at int64) error {
	offset := in.taken()
	if at < 0 {
		return nil
	}
	if at > offset {
		return cellhold.Errorf(cellhold.Conflict, "Input that begins at byte %d cannot follow byte %d.", at, offset)
	}
	if _, err := io.CopyN(io.Discard, body, offset-at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (in *input) taken() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.offset
}

// put queues bytes, and waits for space.
func (in *input) put(ctx context.Context, b []byte, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		in.mu.Lock()
		if in.broken || in.eof {
			in.mu.Unlock()
			return errClosed
		}
		if len(in.queue)+len(b) <= inputBytes {
			in.queue = append(in.queue, b...)
			in.offset += int64(len(b))
			in.mu.Unlock()
			signal(in.ready)
			return nil
		}
		in.mu.Unlock()
		select {
		case <-in.space:
		case <-in.stopped:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return cellhold.Errorf(cellhold.Exhausted, "The command is not reading its standard input.")
		}
	}
}

// finish marks the end of the input.
func (in *input) finish() {
	in.mu.Lock()
	in.eof = true
	in.mu.Unlock()
	signal(in.ready)
}

// run writes queued bytes until the command or the input ends.
func (in *input) run() {
	for {
		in.mu.Lock()
		b, eof := in.queue, in.eof
		in.queue = nil
		in.mu.Unlock()
		if len(b) > 0 {
			signal(in.space)
			if _, err := in.w.Write(b); err != nil {
				in.mu.Lock()
				in.broken, in.queue = true, nil
				in.mu.Unlock()
				signal(in.space)
				return
			}
			continue
		}
		if eof {
			in.close()
			return
		}
		select {
		case <-in.ready:
		case <-in.stopped:
			return
		}
	}
}

// close ends the command's standard input.
func (in *input) close() {
	if in.terminal {
		_, _ = in.w.Write([]byte{endOfText})
		return
	}
	in.w.Close()
}

// stop ends the input at the end of the command. It can be called once.
func (in *input) stop() {
	close(in.stopped)
	in.w.Close()
}

// signal puts a token into a channel of capacity 1.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
