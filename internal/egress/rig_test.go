package egress

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// patience is how long a test waits for an expected event.
const patience = 20 * time.Second

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// names is a resolver that records lookups. Its answers can differ from lookup to lookup.
type names struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr // by name, one for each lookup; further lookups get the last one
	asked   []string
}

func (n *names) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, name)
	list := n.answers[name]
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	if len(list) > 1 {
		n.answers[name] = list[1:]
	}
	return list[0], nil
}

func (n *names) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked)
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// rig is a gate with the guest's end of its connections.
type rig struct {
	testing.TB
	gate     *Gate
	names    *names
	offers   chan net.Conn
	recorded chan cellhold.EgressAttempt
	noRecord bool // recording fails
}

// newRig runs a gate for a policy. o changes the gate's options; it can be nil.
func newRig(t testing.TB, p Policy, answers map[string][][]netip.Addr, o func(*Options)) *rig {
	t.Helper()
	r := &rig{TB: t, names: &names{answers: answers}, offers: make(chan net.Conn), recorded: make(chan cellhold.EgressAttempt, 1000)}
	options := Options{
		Policy: p,
		Rules:  &Rules{Resolver: r.names},
		Next: func(ctx context.Context) (net.Conn, error) {
			host, guest := tcpPair(t)
			select {
			case r.offers <- guest:
				return host, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Record: func(_ context.Context, a cellhold.EgressAttempt) error {
			if r.noRecord {
				return io.ErrShortWrite
			}
			r.recorded <- a
			return nil
		},
	}
	if o != nil {
		o(&options)
	}
	var err error
	if r.gate, err = New(options); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.gate.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return r
}

// tcpPair returns both ends of a connection. Unlike a net.Pipe, each direction can be closed.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// ask requests a connection as the guest's proxy does.
func (r *rig) ask(host string, port int) (net.Conn, guestapi.Answer) {
	r.Helper()
	line, err := json.Marshal(guestapi.Ask{Host: host, Port: port})
	if err != nil {
		r.Fatal(err)
	}
	return r.send(string(line) + "\n")
}

func (r *rig) send(line string) (net.Conn, guestapi.Answer) {
	r.Helper()
	var c net.Conn
	select {
	case c = <-r.offers:
	case <-time.After(patience):
		r.Fatalf("the gate opened no connection for requests within %s", patience)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, line); err != nil {
		r.Fatal(err)
	}
	b := bufio.NewReader(c)
	text, err := b.ReadBytes('\n')
	if err != nil {
		return nil, guestapi.Answer{Error: "closed"}
	}
	var a guestapi.Answer
	if err := json.Unmarshal(text, &a); err != nil {
		r.Fatal(err)
	}
	return &guestConn{Conn: c, r: b}, a
}

// attempt returns the next record.
func (r *rig) attempt() cellhold.EgressAttempt {
	r.Helper()
	select {
	case a := <-r.recorded:
		return a
	case <-time.After(patience):
		r.Fatalf("the gate recorded no attempt within %s", patience)
	}
	return cellhold.EgressAttempt{}
}

// echo is a server on loopback that sends its input back, and counts its connections.
type echo struct {
	port int
	mu   sync.Mutex
	n    int
}

func newEcho(t testing.TB, addr string) *echo {
	t.Helper()
	ln, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{port: ln.Addr().(*net.TCPAddr).Port}
	var run sync.WaitGroup
	run.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.n++
			e.mu.Unlock()
			run.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); run.Wait() })
	return e
}

func (e *echo) visits() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}
