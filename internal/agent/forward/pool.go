package forward

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"cellhold/internal/guestapi"
)

const (
	// maxOffers bounds the host's connections that wait. The host offers a few at a time. If the host has
	// ended, its connections fail at their use, or this limit removes them.
	maxOffers = 16
	// hostTime is how long a program waits for a connection of the host, for example while the server restarts.
	hostTime = 15 * time.Second
)

// pool has the connections that the host has offered.
type pool struct {
	mu      sync.Mutex
	conns   []net.Conn
	closed  bool
	changed chan struct{} // capacity 1: a connection was added
}

func newPool() *pool { return &pool{changed: make(chan struct{}, 1)} }

// put adds a connection. If the pool is full, put closes the oldest one.
func (p *pool) put(c net.Conn) {
	p.mu.Lock()
	var out net.Conn
	switch {
	case p.closed:
		out = c
	case len(p.conns) >= maxOffers: // the oldest connection is most likely to be dead
		out, p.conns = p.conns[0], append(p.conns[1:], c)
	default:
		p.conns = append(p.conns, c)
	}
	p.mu.Unlock()
	if out != nil {
		out.Close()
	}
	p.signal()
}

func (p *pool) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// take waits for a connection of the host, and returns the newest one.
func (p *pool) take(ctx context.Context) (net.Conn, error) {
	for {
		p.mu.Lock()
		if n := len(p.conns); n > 0 {
			c := p.conns[n-1]
			p.conns = p.conns[:n-1]
			p.mu.Unlock()
			if n > 1 {
				p.signal() // wakes another waiter
			}
			return c, nil
		}
		p.mu.Unlock()
		select {
		case <-p.changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	conns := p.conns
	p.conns, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// errNoHost says that no connection was offered in time.
var errNoHost = &refusal{http.StatusServiceUnavailable, "The server accepts no connections at the moment; try again."}

// dial asks the host for a connection. The error is a refusal.
func (f *Forwarder) dial(ctx context.Context, host string, port int) (net.Conn, error) {
	ask, err := json.Marshal(guestapi.Ask{Host: host, Port: port})
	if err != nil || len(ask) >= guestapi.MaxLine {
		return nil, &refusal{http.StatusBadRequest, "The host name is too long."}
	}
	waiting, cancel := context.WithTimeoutCause(ctx, hostTime, errNoHost)
	defer cancel()
	for {
		c, err := f.pool.take(waiting)
		if err != nil {
			return nil, asRefusal(err)
		}
		out, answer, err := f.ask(ctx, c, append(ask, '\n'))
		switch {
		case err != nil: // the host has ended; the next connection can be of a new host
			c.Close()
		case answer.Error == "":
			return out, nil
		default:
			c.Close()
			return nil, refused(answer)
		}
	}
}

// ask sends one question to the host on c. It returns c with the bytes that were read after the answer.
func (f *Forwarder) ask(ctx context.Context, c net.Conn, question []byte) (net.Conn, guestapi.Answer, error) {
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	var answer guestapi.Answer
	_ = c.SetDeadline(time.Now().Add(askTime))
	if _, err := c.Write(question); err != nil {
		return nil, answer, err
	}
	r := bufio.NewReaderSize(c, guestapi.MaxLine)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, answer, err
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, answer, err
	}
	_ = c.SetDeadline(time.Time{})
	return &buffered{Conn: c, r: r}, answer, nil
}

// refused returns the answer of the host as a refusal.
func refused(a guestapi.Answer) *refusal {
	if a.Refused {
		return &refusal{http.StatusForbidden, a.Error}
	}
	return &refusal{http.StatusBadGateway, a.Error}
}

// join copies in both directions until both have ended, and closes both ends.
func join(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() { abort(a); abort(b) })
	defer stop()
	var run sync.WaitGroup
	one := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			abort(a)
			abort(b)
			return
		}
		_ = closeWrite(to)
	}
	run.Go(func() { one(a, b) })
	run.Go(func() { one(b, a) })
	run.Wait()
	a.Close()
	b.Close()
}
