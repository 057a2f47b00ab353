package ports

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"time"
)

// idleConn is a connection that ends when no bytes move for a while. Bytes in one direction keep both directions open,
// because a long upload has no answer until its end.
type idleConn struct {
	net.Conn
	idle time.Duration
	last atomic.Int64 // time at which bytes moved, in nanoseconds
}

func newIdleConn(c net.Conn, idle time.Duration) *idleConn {
	i := &idleConn{Conn: c, idle: idle}
	i.last.Store(time.Now().UnixNano())
	return i
}

// Read reads bytes of the program.
func (c *idleConn) Read(p []byte) (int, error) {
	for {
		_ = c.Conn.SetReadDeadline(time.Now().Add(c.idle))
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.last.Store(time.Now().UnixNano())
		}
		if n > 0 || !isTimeout(err) || time.Since(time.Unix(0, c.last.Load())) >= c.idle {
			return n, err
		}
	}
}

// Write sends bytes to the program.
func (c *idleConn) Write(p []byte) (int, error) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.idle))
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}

// CloseWrite tells the program that no more bytes follow.
func (c *idleConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err) // the link's streams have their own timeout error
	return ok && ne.Timeout()
}

// upgrader gives upgraded connections the deadlines that other answers have.
type upgrader struct{ http.ResponseWriter }

// Unwrap lets http.ResponseController reach the connection.
func (u *upgrader) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack takes the connection of the client.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetReadDeadline(time.Time{}) // the connection to the program notices an idle client
	_ = conn.SetWriteDeadline(time.Now().Add(clientWrite))
	return &clientConn{conn, buffered.Reader}, buffered, nil
}

// clientConn is the upgraded connection of a client.
type clientConn struct {
	net.Conn
	r *bufio.Reader // can have read ahead
}

// Read reads bytes of the client.
func (c *clientConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write sends bytes to the client. A client that does not read is disconnected.
func (c *clientConn) Write(p []byte) (int, error) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(clientWrite))
	return c.Conn.Write(p)
}

// untraced is a context without the trace of an HTTP client. httputil uses a trace to pass provisional answers on. They would
// not be bounded then, and would remove the server's own headers.
type untraced struct{ context.Context }

// Value hides the trace.
func (u untraced) Value(key any) any {
	v := u.Context.Value(key)
	if _, is := v.(*httptrace.ClientTrace); is {
		return nil
	}
	return v
}
