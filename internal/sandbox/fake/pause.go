package fake

import (
	"context"
	"fmt"
	"net"
	"sync"

	"cellhold/internal/sandbox"
)

// gate stops the communication of an agent while its sandbox is paused. The kernels cannot be stopped: a running cell
// continues.
type gate struct {
	life context.Context // of the agent

	mu   sync.Mutex
	open chan struct{} // closed while the sandbox is not paused
}

func newGate(life context.Context) *gate {
	g := &gate{life: life, open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(running bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !running {
			g.open = make(chan struct{})
		}
	default:
		if running {
			close(g.open)
		}
	}
}

// wait returns when the sandbox is not paused, or at its end.
func (g *gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
	case <-g.life.Done():
	}
}

// gated is the agent's end of a connection.
type gated struct {
	net.Conn
	gate *gate
}

// Read delays data that arrived while the sandbox was paused.
func (c *gated) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.wait()
	return n, err
}

func (c *gated) Write(p []byte) (int, error) {
	c.gate.wait()
	return c.Conn.Write(p)
}

// Pause stops the communication of the agent.
func (s *owned) Pause(context.Context) error { return s.setRunning("pause", false) }

// Resume lets the agent communicate again.
func (s *owned) Resume(context.Context) error { return s.setRunning("resume", true) }

func (s *owned) setRunning(verb string, running bool) error {
	if !s.alive() {
		return fmt.Errorf("%s sandbox %s: %w", verb, s.spec.ID, sandbox.ErrNotFound)
	}
	s.gate.set(running)
	return nil
}
