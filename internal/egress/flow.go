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

// pieceSize is how much is moved at once: what the link and TCP give at a time.
const pieceSize = 32 << 10

// brokenOff is the end of a connection by one of our bounds.
type brokenOff string

func (b brokenOff) Error() string { return string(b) }

const (
	errTooOld  brokenOff = "The connection was open for as long as one may be."
	errTooIdle brokenOff = "Nothing moved on the connection for too long."
	errTooMuch brokenOff = "The session has moved as many bytes as it may."
)

// meter counts the bytes of a gate.
type meter struct {
	moved atomic.Int64
	most  int64
}

// take reports whether n more bytes may move.
func (m *meter) take(n int) bool { return m.moved.Add(int64(n)) <= m.most }

// flow is the two directions of one connection. Either of them keeps both alive: a long download has
// one that is silent.
type flow struct {
	meter *meter
	idle  time.Duration
	last  atomic.Int64 // when something moved, in nanoseconds
}

// carry moves bytes until both directions have ended, a bound is reached, or the session ends.
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
		closeWrite(to)
	}
	var run sync.WaitGroup
	run.Go(func() { one(out, guest, &a.record.Sent) })
	run.Go(func() { one(guest, out, &a.record.Received) })
	run.Wait()
	if why, ok := errors.AsType[brokenOff](context.Cause(ctx)); ok {
		a.record.Reason = string(why)
	}
}

// copy moves bytes one way, and returns nil at the end of what comes.
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
			// the other direction is busy
		case isTimeout(err):
			return errTooIdle
		case err != nil:
			return err
		}
	}
}

// read sets its deadline before it looks at the context, whose end would set one that has passed.
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
	ne, ok := errors.AsType[net.Error](err) // the link's streams have a time-out of their own
	return ok && ne.Timeout()
}

// abort ends a connection at once. Closing a stream of the link ends one direction only, and a read
// of the other would go on.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// closeWrite tells the other end that nothing more comes. A stream of the link does that by Close.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = c.Close()
}
