// Package forward is the guest's end of a way out of the sandbox: a proxy on the loopback that
// speaks HTTP (CONNECT and absolute URLs) and SOCKS5 on one port, for programs that cannot reach
// anything by themselves.
//
// It makes no connections. The host offers some over the link; each carries what one program asks
// for, and the host decides about it. So nothing here is a wall: whatever a program sends, the worst
// that it can do is to ask the host. It refuses only what is no proxy request at all, and bounds what
// one sandbox's programs can make it hold.
//
// Lock: pool.mu, held for no I/O.
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
	// maxConns bounds the programs' connections at once; more wait in the listener's queue. Each
	// holds about 70 KB while bytes flow.
	maxConns = 64
	// askTime bounds a program's request to the proxy up to the answer's beginning. It is longer
	// than the host takes to give up on a connection.
	askTime = 45 * time.Second
	// greetTime is how long a program may take to say what it wants.
	greetTime = 30 * time.Second
)

// Options configures a Forwarder.
type Options struct {
	Token string // password that programs must give, under any user name; empty means none
}

// Forwarder is one way out.
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

// Offer gives a connection to the host, which is closed here in the end.
func (f *Forwarder) Offer(c net.Conn) { f.pool.put(c) }

// Serve serves programs until the context ends or the listener fails, and returns when nothing runs
// any more. It closes the listener. It may be called once.
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
	defer func() { // all programs' connections are closed when all places can be had
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

// greet finds out which protocol a program speaks, by its first byte.
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

// slotConn gives its place free when it is closed.
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

// CloseWrite lets the other end know that nothing more comes.
func (c *slotConn) CloseWrite() error { return closeWrite(c.Conn) }

// buffered is a connection of which something was read ahead.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// CloseWrite lets the other end know that nothing more comes.
func (b *buffered) CloseWrite() error { return closeWrite(b.Conn) }

// closeWrite ends one direction. A stream of the link has no other Close than that.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// abort ends a connection at once; a read of a stream of the link would go on after its Close.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// refusal is an error that a program is told about.
type refusal struct {
	status  int // of HTTP
	message string
}

func (r *refusal) Error() string { return r.message }

// asRefusal makes any error one that can be told.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return &refusal{http.StatusBadGateway, "The way out of the sandbox broke down."}
}
