package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pieceSize is the size of a read, because the link and TCP deliver about this amount at once.
const pieceSize = 32 << 10

// limitReached is the error of a limit that ended a connection.
type limitReached string

func (l limitReached) Error() string { return string(l) }

const (
	errTooOld  limitReached = "The connection reached the maximum age."
	errTooIdle limitReached = "The connection was idle for too long."
	errTooMuch limitReached = "The session reached its limit of bytes to send and receive."
)

// meter counts the bytes of a gate.
type meter struct {
	moved atomic.Int64
	most  int64
}

// take counts n bytes and reports whether the limit allows them.
func (m *meter) take(n int) bool { return m.moved.Add(int64(n)) <= m.most }

// flow copies the two directions of one connection. Data in one direction keeps both directions open, because a long
// download has no data in the other direction.
type flow struct {
	meter *meter
	idle  time.Duration
	last  atomic.Int64 // time of the last data, in nanoseconds
}

// carry copies data until both directions have ended, a limit is reached, or the session ends.
func (a *attempt) carry(ctx context.Context, guest, out net.Conn) {
	l := a.gate.o.Limits
	ctx, tooOld := context.WithTimeoutCause(ctx, l.Age, errTooOld)
	defer tooOld()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := context.AfterFunc(ctx, func() { abort(guest); abort(out) })
	defer stop()
	f := &flow{meter: a.gate.meter, idle: l.Idle}
	f.last.Store(time.Now().UnixNano())
	one := func(to, from net.Conn, count *int64) {
		if err := f.copy(ctx, to, from, count); err != nil {
			end(err)
			return
		}
		_ = closeWrite(to)
	}
	var run sync.WaitGroup
	run.Go(func() { one(out, guest, &a.record.Sent) })
	run.Go(func() { one(guest, out, &a.record.Received) })
	run.Wait()
	if why, ok := errors.AsType[limitReached](context.Cause(ctx)); ok {
		a.record.Reason = string(why)
	}
}

// copy copies data in one direction. It returns nil at the end of the data.
func (f *flow) copy(ctx context.Context, to, from net.Conn, count *int64) error {
	buf := make([]byte, pieceSize)
	for {
		n, err := f.read(ctx, from, buf)
		if n > 0 {
			m, err := f.write(ctx, to, buf[:n])
			*count += int64(m)
			if err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case isTimeout(err) && ctx.Err() == nil && time.Since(time.Unix(0, f.last.Load())) < f.idle:
			// the other direction has data
		case isTimeout(err):
			return errTooIdle
		case err != nil:
			return err
		}
	}
}

// read sets the deadline before it checks the context. When the context ends, abort sets a deadline in the past. In
// the other order, read could replace that deadline and then wait.
func (f *flow) read(ctx context.Context, from net.Conn, buf []byte) (int, error) {
	_ = from.SetReadDeadline(time.Now().Add(f.idle))
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	n, err := from.Read(buf)
	if n > 0 {
		f.last.Store(time.Now().UnixNano())
		if !f.meter.take(n) {
			return 0, errTooMuch
		}
	}
	return n, err
}

func (f *flow) write(ctx context.Context, to net.Conn, b []byte) (int, error) {
	_ = to.SetWriteDeadline(time.Now().Add(f.idle))
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	n, err := to.Write(b)
	if isTimeout(err) {
		err = errTooIdle
	}
	return n, err
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err) // the link's streams have their own timeout error
	return ok && ne.Timeout()
}

// abort ends a connection at once. The deadline ends reads and writes that wait.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// closeWrite tells the other end that no more data follows.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
