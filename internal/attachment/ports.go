package attachment

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"cellhold"
)

const (
	// portVersion is the first version of the agent that connects to ports.
	portVersion = 7
	// maxPortConns is the maximum number of connections to the ports of one sandbox at the same time. A connection can
	// hold 256 KiB of received bytes in the link. A browser opens some dozens at once.
	maxPortConns = 64
	// slotWait is how long a connection waits for another one to end. The requests of one web page come in bursts.
	slotWait = 10 * time.Second
	// portDialTime limits the dial, which the agent does within 5 s per address.
	portDialTime = 20 * time.Second
	// useInterval is the least time between two reports that bytes move.
	useInterval = time.Second
)

// DialPort connects to a port on the loopback of the sandbox. The context bounds only the call; the end of the attachment
// ends the connection. An open connection does not keep the session from hibernating, which ends the connection. Bytes that
// move count as use. The error is NotFound if no program listens on the port. The caller must close the connection.
func (a *Attachment) DialPort(ctx context.Context, port int) (net.Conn, error) {
	if a.version < portVersion {
		return nil, cellhold.Errorf(cellhold.Unsupported, "Ports are not available in this session, because it continues from a snapshot of an earlier version. Use a new session.")
	}
	release, err := a.portSlot(ctx)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, portDialTime)
	defer cancel()
	raw, err := a.client.DialPort(dialing, port)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = cellhold.Wrap(cellhold.Unavailable, err, "The sandbox did not connect to port %d within %s. It can be overloaded: retry later.", port, portDialTime)
	}
	if err != nil {
		release()
		return nil, err
	}
	c := &portConn{Conn: raw, used: a.used, release: release}
	c.stop = context.AfterFunc(a.ctx, c.abort)
	return c, nil
}

// portSlot reserves a slot for a connection. release can be called several times.
func (a *Attachment) portSlot(ctx context.Context) (release func(), err error) {
	wait := time.NewTimer(slotWait)
	defer wait.Stop()
	select {
	case a.ports <- struct{}{}:
		return sync.OnceFunc(func() { <-a.ports }), nil
	case <-wait.C:
		return nil, cellhold.Errorf(cellhold.Exhausted, "The session has too many connections to its ports; the limit is %d. Close some, or retry later.", maxPortConns)
	case <-a.ctx.Done():
		return nil, ErrPortsEnd
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ErrPortsEnd is the error of calls for a port of a sandbox that is being saved or has ended.
var ErrPortsEnd = cellhold.Errorf(cellhold.Unavailable, "The session's sandbox is being saved, or has ended. Retry.")

// portConn is one connection to a port.
type portConn struct {
	net.Conn
	used    func()
	release func()
	stop    func() bool
	ended   atomic.Bool  // set by abort
	last    atomic.Int64 // time of the last report of use, in nanoseconds
}

// Read reads bytes of the program.
func (c *portConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.report(n)
	return n, c.endOr(err)
}

// Write sends bytes to the program.
func (c *portConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.report(n)
	return n, c.endOr(err)
}

// endOr returns net.ErrClosed in place of another error if the connection has ended. Otherwise a caller could take the end for
// a timeout, and continue.
func (c *portConn) endOr(err error) error {
	if err != nil && c.ended.Load() {
		return net.ErrClosed
	}
	return err
}

// SetReadDeadline sets the deadline of reads. After the end, it has no effect.
func (c *portConn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.ended.Load() { // otherwise the deadline of abort can be lost
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
	return err
}

// SetWriteDeadline sets the deadline of writes. After the end, it has no effect.
func (c *portConn) SetWriteDeadline(t time.Time) error {
	err := c.Conn.SetWriteDeadline(t)
	if c.ended.Load() {
		_ = c.Conn.SetWriteDeadline(time.Unix(1, 0))
	}
	return err
}

// SetDeadline sets both deadlines. After the end, it has no effect.
func (c *portConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// report reports use if bytes moved.
func (c *portConn) report(n int) {
	now := time.Now().UnixNano()
	last := c.last.Load()
	if n > 0 && now-last >= int64(useInterval) && c.last.CompareAndSwap(last, now) {
		c.used()
	}
}

// CloseWrite tells the program that no more bytes follow.
func (c *portConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// Close ends both directions, and frees the slot. It can be called several times.
func (c *portConn) Close() error {
	c.stop()
	c.abort()
	c.release()
	return nil
}

// abort ends reads and writes that wait. On a stream of the link, Close alone does not.
func (c *portConn) abort() {
	c.ended.Store(true)
	_ = c.Conn.SetDeadline(time.Unix(1, 0))
	_ = c.Conn.Close()
}
