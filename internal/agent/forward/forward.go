// Package forward is the guest's end of the egress. It is a proxy on the loopback for programs, which
// cannot connect to the outside themselves. It speaks HTTP (CONNECT and absolute URLs) and SOCKS5 on one
// port.
//
// It makes no connections. The host offers connections over the link. Each carries the request of one
// program, and the host decides about it. So the proxy is not a security boundary: a program can at most
// send a request to the host. It refuses only bytes that are not a proxy request, and bounds the memory
// that the programs of one sandbox can use.
//
// Lock: pool.mu, never held during I/O.
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
	// maxConns bounds the programs' connections at one time; more wait in the listener's queue. Each takes
	// about 70 KB while bytes flow.
	maxConns = 64
	// askTime bounds a program's request to the proxy until the answer begins. It is longer than the time
	// after which the host gives up on a connection.
	askTime = 45 * time.Second
	// greetTime is the time that a program has to send its request.
	greetTime = 30 * time.Second
)

// Options configures a Forwarder.
type Options struct {
	Token string // password that programs must give, with any user name; empty means none
}

// Forwarder is one egress proxy.
type Forwarder struct {
	token string
	pool  *pool
	web   *web
}

// New returns a forwarder without connections.
func New(o Options) *Forwarder {
	f := &Forwarder{token: o.Token, pool: newPool()}
	f.web = newWeb(f)
	return f
}

// Offer adds a connection to the host. The forwarder closes it.
func (f *Forwarder) Offer(c net.Conn) { f.pool.put(c) }

// Serve serves programs until the context ends or the listener fails, and returns when all connections have
// ended. It closes the listener. It can be called once.
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
	defer func() { // when every slot can be taken, all connections of programs are closed
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
		run.Go(func() { f.greet(ctx, held) })
	}
}

// greet detects the protocol of a program by its first byte.
func (f *Forwarder) greet(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(greetTime))
	first, err := r.Peek(1)
	if err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	both := &buffered{Conn: c, r: r}
	if first[0] == socksVersion {
		f.socks(ctx, both)
		return
	}
	f.web.take(ctx, both)
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

// closeWrite ends one direction. On a stream of the link, Close does only that.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// abort ends a connection at once. On a stream of the link, a read would continue after Close.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// refusal is an error that a program sees.
type refusal struct {
	status  int // HTTP status
	message string
}

func (r *refusal) Error() string { return r.message }

// asRefusal turns any error into a refusal.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return &refusal{http.StatusBadGateway, "The connection to the server failed."}
}
