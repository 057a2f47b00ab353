package agent_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"cellhold"
	"cellhold/internal/agent"
	"cellhold/internal/agent/command"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

// portRig is an agent that the host reaches over TCP, because the connections of a fake sandbox have no half close.
type portRig struct {
	testing.TB
	ctx    context.Context
	at     string // address of the agent
	client *guest.Client
	stop   func() // ends the agent, and waits for it
}

func newPortRig(t testing.TB) *portRig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	a, err := agent.New(agent.Options{Launcher: &fake.Launcher{Dir: t.TempDir()}, Output: t.TempDir(),
		Commands: command.Options{Spawner: fake.Spawner{Dir: t.TempDir()}}})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	running, end := context.WithCancel(ctx)
	var run sync.WaitGroup
	run.Go(func() { _ = a.Run(running, ln) })
	stop := func() { end(); run.Wait() }
	t.Cleanup(stop)
	r := &portRig{TB: t, ctx: ctx, at: ln.Addr().String(), stop: stop}
	r.client, err = guest.New(guest.Options{Dial: r.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	if _, err := r.client.Info(ctx); err != nil { // the agent is running
		t.Fatal(err)
	}
	return r
}

func (r *portRig) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", r.at)
}

// listen opens a port on the loopback.
func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// program serves each connection to a new port.
func (r *portRig) program(serve func(net.Conn)) (port int) {
	r.Helper()
	ln := listen(r)
	var run sync.WaitGroup
	run.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			run.Go(func() { defer c.Close(); serve(c) })
		}
	})
	r.Cleanup(func() { ln.Close(); run.Wait() })
	return portOf(ln)
}

// free returns a port on which no program listens.
func (r *portRig) free() int {
	ln := listen(r)
	ln.Close()
	return portOf(ln)
}

func (r *portRig) open(port int) net.Conn {
	r.Helper()
	c, err := r.client.DialPort(r.ctx, port)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	return c
}

func TestEachDirectionOfAConnectionToAPortEndsOnItsOwn(t *testing.T) {
	r := newPortRig(t)
	port := r.program(func(c net.Conn) {
		all, _ := io.ReadAll(c) // ends only with the half close
		_, _ = fmt.Fprintf(c, "%d bytes", len(all))
	})
	c := r.open(port)
	if _, err := io.WriteString(c, strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "1048576 bytes" {
		t.Errorf("got %q, %v; want the answer after the half close", got, err)
	}
}

func TestAPortWithoutAProgramIsNotFound(t *testing.T) {
	r := newPortRig(t)
	port := r.free()
	if _, err := r.client.DialPort(r.ctx, port); cellhold.KindOf(err) != cellhold.NotFound || !strings.Contains(err.Error(), fmt.Sprint(port)) {
		t.Errorf("got %v, want an error NotFound with the port", err)
	}
}

// Without this, somebody who can reach only the ports of a session could use its network access.
func TestThePortsOfEgressProxiesAreRefused(t *testing.T) {
	r := newPortRig(t)
	proxy, err := r.client.OpenWay(r.ctx, guestapi.SessionWay, guestapi.Way{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.DialPort(r.ctx, proxy.Port); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
}

func TestOnlyNumbersOfPortsAreDialled(t *testing.T) {
	r := newPortRig(t)
	for _, port := range []string{"0", "65536", "-1", "x", "80%2F", "127.0.0.1:80"} {
		for upgrade, want := range map[string]int{guestapi.PortUpgrade: 400, "h2c": 400} {
			req, err := http.NewRequestWithContext(r.ctx, "POST", "http://"+r.at+"/v1/ports/"+port, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", upgrade)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("port %s with the upgrade %s: got %d, want %d", port, upgrade, resp.StatusCode, want)
			}
		}
	}
	for _, port := range []int{-1, 0, 65536} {
		if _, err := r.client.DialPort(r.ctx, port); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("port %d: got %v, want Invalid", port, err)
		}
	}
}

func TestConnectionsToPortsHaveALimit(t *testing.T) {
	r := newPortRig(t)
	port := r.program(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	var first net.Conn
	for range guestapi.MaxPortConns {
		if c := r.open(port); first == nil {
			first = c
		}
	}
	if _, err := r.client.DialPort(r.ctx, port); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("above the limit: got %v, want Exhausted", err)
	}
	first.Close()
	for { // the agent notices the end of the connection a little later
		c, err := r.client.DialPort(r.ctx, port)
		if err == nil {
			c.Close()
			return
		}
		if cellhold.KindOf(err) != cellhold.Exhausted {
			t.Fatalf("after the end of one: %v", err)
		}
	}
}

func TestConnectionsToPortsEndWithTheAgent(t *testing.T) {
	r := newPortRig(t)
	ended := make(chan struct{})
	c := r.open(r.program(func(c net.Conn) { _, _ = io.Copy(io.Discard, c); close(ended) }))
	r.stop()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the host reads from a connection after the end of the agent")
	}
	<-ended
}
