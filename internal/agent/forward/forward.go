// Package forward is the guest's end of the egress: a proxy on the loopback for programs, because the sandbox
// has no other network. It speaks HTTP (CONNECT and absolute URLs) and SOCKS5 on one port.
//
// It opens no connections. The host opens connections to it over the link. Each connection carries the
// request of one program, and the host allows or refuses the request. So the proxy is not a security
// boundary: a program can at most send a request to the host. The proxy refuses only bytes that are not a
// proxy request, and bounds the memory that the programs of one sandbox can use.
//
// There is one lock, pool.mu, never held during I/O.
package forward

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxConns bounds the open connections of programs. Further connections wait in the listener's queue. A
	// connection takes about 70 KB while bytes flow.
	maxConns = 64
	// askTime bounds one question to the host, from its first byte to the answer. It is longer than the
	// host's own timeout for a connection.
	askTime = 45 * time.Second
	// requestTime bounds the time until a program has sent its request.
	requestTime = 30 * time.Second
)

// Options configures a Forwarder.
type Options struct {
	Token string // password that programs must send, with any user name; empty means no password
}

// Forwarder is one egress proxy.
type Forwarder struct {
	token string
	pool  *pool
	web   *web
}

// New returns a forwarder that has no connection of the host yet.
func New(o Options) *Forwarder {
	f := &Forwarder{token: o.Token, pool: newPool()}
	f.web = newWeb(f)
	return f
}

// Offer adds a connection that the host has opened. The forwarder closes it.
func (f *Forwarder) Offer(c net.Conn) { f.pool.put(c) }

// Serve serves programs until the context ends or the listener fails. It closes the listener, and returns when
// all connections have ended. It can be called once.
func (f *Forwarder) Serve(ctx context.Context, ln net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var run sync.WaitGroup
	defer run.Wait()
	defer f.pool.close()
	run.Go(func() { f.web.serve(ctx) })
	slots := make(chan struct{}, maxConns)
	defer func() { // waits for the programs' connections: each holds a slot until it is closed
		for range maxConns {
			slots <- struct{}{}
		}
	}()
	defer cancel()
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := ln.Accept()
		if err != nil {
			<-slots
			return
		}
		held := &slotConn{Conn: c, release: func() { <-slots }}
		run.Go(func() { f.dispatch(ctx, held) })
	}
}

// dispatch serves one program. It detects the protocol, SOCKS5 or HTTP, by the first byte.
func (f *Forwarder) dispatch(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(requestTime))
	first, err := r.Peek(1)
	if err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	whole := &buffered{Conn: c, r: r} // with the first byte
	if first[0] == socksVersion {
		f.socks(ctx, whole)
		return
	}
	f.web.take(ctx, whole)
}

// slotConn releases its slot when it is closed.
type slotConn struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *slotConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}

// CloseWrite tells the other end that no more bytes follow.
func (c *slotConn) CloseWrite() error { return closeWrite(c.Conn) }

// buffered is a connection from which bytes were read ahead.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// CloseWrite tells the other end that no more bytes follow.
func (b *buffered) CloseWrite() error { return closeWrite(b.Conn) }

// closeWrite tells the other end of c that no more bytes follow. On a stream of the link, Close does this.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// abort ends a connection at once. The deadline ends a read that waits, because on a stream of the link Close
// does not.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// refusal is an error that the proxy sends to a program.
type refusal struct {
	status  int // HTTP status
	message string
}

func (r *refusal) Error() string { return r.message }

// asRefusal returns err if it is a refusal, and otherwise a refusal without details.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return &refusal{http.StatusBadGateway, "The egress connection failed."}
}
