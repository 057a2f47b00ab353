package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// dialTime bounds the connection to a program. A program on the loopback accepts at once, unless its queue is full.
const dialTime = 5 * time.Second

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
	cut := func() { abort(host); abort(program) }
	stop := context.AfterFunc(ctx, cut)
	defer stop()
	one := func(to net.Conn, from io.Reader) {
		if _, err := io.Copy(to, from); err != nil {
			cut()
			return
		}
		_ = endWrites(to)
	}
	var run sync.WaitGroup
	run.Go(func() { one(program, r) })
	run.Go(func() { one(host, program) })
	run.Wait()
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
