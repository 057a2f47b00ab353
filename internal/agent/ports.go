package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// dialTime bounds the connection to a program. A program on the loopback accepts at once, unless its queue is full.
const dialTime = 5 * time.Second

// portLinger is the time in which a program must send or the host must take bytes, after the host has sent its last one. The
// host's close looks like the end of its bytes only. Tests shorten it, while connections of earlier tests end.
var portLinger = nanoseconds(30 * time.Second)

func nanoseconds(d time.Duration) *atomic.Int64 {
	var n atomic.Int64
	n.Store(int64(d))
	return &n
}

// loopbacks are the addresses that the agent dials. Many programs listen on only one of them.
var loopbacks = []string{"127.0.0.1", "::1"}

// ports connects the host to programs in the sandbox.
type ports struct {
	slots chan struct{} // one token for each connection
}

func newPorts() *ports { return &ports{slots: make(chan struct{}, guestapi.MaxPortConns)} }

// postPort turns a request of the host into a connection to a port of the sandbox.
func (a *Agent) postPort(w http.ResponseWriter, r *http.Request) {
	port, err := portOf(r)
	if err != nil {
		problem(w, err)
		return
	}
	select {
	case a.ports.slots <- struct{}{}:
		defer func() { <-a.ports.slots }()
	default:
		problem(w, cellhold.Errorf(cellhold.Exhausted, "The sandbox has too many connections to its ports; the limit is %d. Close some.", guestapi.MaxPortConns))
		return
	}
	running, err := a.running()
	if err != nil {
		problem(w, err)
		return
	}
	program, err := a.dialPort(r.Context(), port)
	if err != nil {
		problem(w, err)
		return
	}
	defer program.Close()
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(w, err)
		return
	}
	defer c.Close()
	if switched(c, guestapi.PortUpgrade) == nil {
		carry(running, c, rw.Reader, program)
	}
}

// portOf returns the port that a request names.
func portOf(r *http.Request) (int, error) {
	if r.Header.Get("Upgrade") != guestapi.PortUpgrade {
		return 0, cellhold.Errorf(cellhold.Invalid, "A connection to a port needs an upgrade to %s.", guestapi.PortUpgrade)
	}
	port, err := strconv.Atoi(r.PathValue("port"))
	if err != nil || port < 1 || port > guestapi.MaxPort {
		return 0, cellhold.Errorf(cellhold.Invalid, "Invalid port %.20q: use 1 to %d.", r.PathValue("port"), guestapi.MaxPort)
	}
	return port, nil
}

// dialPort connects to a program on the loopback. It refuses the egress proxies: a caller that has only a port of the
// session could use its network access. They are checked again after the dial, because a proxy can start during it.
func (a *Agent) dialPort(ctx context.Context, port int) (net.Conn, error) {
	if a.ways.has(port) {
		return nil, errProxyPort(port)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var c net.Conn
	var err error
	for _, at := range loopbacks {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(at, strconv.Itoa(port)))
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && at == loopbacks[0] {
			return nil, cellhold.Wrap(cellhold.Unavailable, err, "The program on port %d does not accept connections.", port)
		}
	}
	if err != nil {
		return nil, cellhold.Wrap(cellhold.NotFound, err, "No program listens on port %d.", port)
	}
	if a.ways.has(port) {
		c.Close()
		return nil, errProxyPort(port)
	}
	return c, nil
}

func errProxyPort(port int) error {
	return cellhold.Errorf(cellhold.Invalid, "Port %d belongs to the egress proxy of the sandbox. Use another port.", port)
}

// carry copies bytes between the host and a program until both directions have ended, or ctx ends. r has the bytes of
// the host that were read ahead.
func carry(ctx context.Context, host net.Conn, r io.Reader, program net.Conn) {
	b := &bridge{host: host, program: program}
	stop := context.AfterFunc(ctx, b.cut)
	defer stop()
	var run sync.WaitGroup
	run.Go(func() {
		b.one(program, r)
		b.linger()
	})
	run.Go(func() { b.one(host, tail{b}) })
	run.Wait()
}

// bridge connects the host to a program.
type bridge struct {
	host, program net.Conn
	mu            sync.Mutex // guards the fields below, and the deadlines
	ended         bool       // the host sends no more bytes
	over          bool       // the connections were cut
}

// one copies one direction.
func (b *bridge) one(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		b.cut()
		return
	}
	_ = endWrites(to)
}

// cut ends both connections.
func (b *bridge) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	abort(b.host)
	abort(b.program)
}

// linger begins to limit the waits for the program and for the host.
func (b *bridge) linger() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.extend()
}

// extend sets new deadlines after the host has ended. It does not replace those of cut.
func (b *bridge) extend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended && !b.over {
		end := time.Now().Add(time.Duration(portLinger.Load()))
		_ = b.program.SetReadDeadline(end)
		_ = b.host.SetWriteDeadline(end)
	}
}

// tail reads from the program. The bytes of the last read have been written when the next one begins.
type tail struct{ *bridge }

// Read reads bytes of the program.
func (t tail) Read(p []byte) (int, error) {
	t.extend()
	n, err := t.program.Read(p)
	if n > 0 {
		t.extend() // the write to the host follows
	}
	return n, err
}

// endWrites tells the other end that no more bytes follow.
func endWrites(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// abort ends a connection at once. The deadline ends a read that waits, because on a stream of the link Close does
// not.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}
