package fake

import (
	"context"
	"fmt"
	"net"
	"sync"

	"cellhold/internal/sandbox"
)

// gate keeps an agent from hearing and answering while its sandbox is paused. Its kernels cannot be
// stopped: a cell that runs goes on, unheard.
type gate struct {
	life context.Context // of the agent

	mu   sync.Mutex
	open chan struct{} // closed while the sandbox is awake
}

func newGate(life context.Context) *gate {
	g := &gate{life: life, open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(awake bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !awake {
			g.open = make(chan struct{})
		}
	default:
		if awake {
			close(g.open)
		}
	}
}

// wait returns when the sandbox is awake, or at its end.
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

// Read holds back what came while the sandbox was paused.
func (c *gated) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.wait()
	return n, err
}

func (c *gated) Write(p []byte) (int, error) {
	c.gate.wait()
	return c.Conn.Write(p)
}

// Pause makes the agent deaf and dumb.
func (s *owned) Pause(context.Context) error { return s.awake("pause", false) }

// Resume lets it go on.
func (s *owned) Resume(context.Context) error { return s.awake("resume", true) }

func (s *owned) awake(verb string, awake bool) error {
	if !s.alive() {
		return fmt.Errorf("%s sandbox %s: %w", verb, s.spec.ID, sandbox.ErrNotFound)
	}
	s.gate.set(awake)
	return nil
}
