package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"cellhold/internal/agent"
	"cellhold/internal/agent/command"
	"cellhold/internal/agent/files"
	"cellhold/internal/sandbox"
)

// box is one sandbox: an agent in this process.
type box struct {
	spec     sandbox.Spec
	created  time.Time
	agent    *agent.Agent
	launcher *Launcher
	gate     *gate
	conns    *listener
	end      context.CancelFunc
	done     chan struct{} // closed when the agent has returned

	mu     sync.Mutex
	labels map[string]string
	exit   sandbox.Exit
	ended  bool // exit is decided
	failed error
}

// newBox creates a sandbox, restored from a snapshot or new.
func newBox(w *World, s sandbox.Spec, from *saved) (*box, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, fmt.Errorf("the world is closed: %w", err)
	}
	output := w.OutputDir(s.ID)
	if err := errors.Join(os.MkdirAll(output, 0o755), os.MkdirAll(w.WorkDir(s.ID), 0o755)); err != nil {
		return nil, err
	}
	launcher := &Launcher{Dir: w.sockets, Script: w.options.Script}
	var known *agent.Saved
	if from != nil {
		if err := copyFiles(w.dir(s.ID), from.dir); err != nil {
			return nil, err
		}
		launcher.memories, known = maps.Clone(from.memories), from.agent
	}
	a, err := agent.New(agent.Options{
		Launcher: launcher,
		Saved:    known,
		Commands: command.Options{Spawner: Spawner{Dir: w.WorkDir(s.ID)}, Timing: w.options.Commands},
		Output:   output,
		Files:    files.Handler(w.WorkDir(s.ID)),
		Spool:    w.options.Spool,
		Timing:   w.options.Timing,
		Logger:   w.options.Logger,
	})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(w.ctx)
	b := &box{
		spec: s, labels: s.Labels, created: time.Now(), agent: a, launcher: launcher,
		gate: newGate(ctx), end: end, done: make(chan struct{}),
	}
	b.conns = newListener(b.gate)
	go func() { // stop waits for it
		defer close(b.done)
		err := a.Run(ctx, b.conns)
		b.conns.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.failed = err
	}()
	return b, nil
}

// stop ends the sandbox. The first call sets the cause.
func (b *box) stop(e sandbox.Exit) {
	b.mu.Lock()
	if !b.ended {
		b.ended, b.exit = true, e
	}
	b.mu.Unlock()
	b.end()
	<-b.done
}

func (b *box) alive() bool {
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// why returns the cause of the sandbox's end. The sandbox must have ended.
func (b *box) why() sandbox.Exit {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return b.exit
	}
	e := sandbox.Exit{Code: 1, Message: "the agent ended by itself"}
	if b.failed != nil {
		e.Message = b.failed.Error()
	}
	return e
}

// owned is a sandbox that a driver owns.
type owned struct {
	driver *Driver
	*box
}

var _ sandbox.Sandbox = (*owned)(nil)

func (s *owned) ID() sandbox.ID { return s.spec.ID }

func (s *owned) Dial(ctx context.Context) (net.Conn, error) {
	c, err := s.conns.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial sandbox %s: %w", s.spec.ID, err)
	}
	return s.driver.hold(c)
}

func (s *owned) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-s.done:
		return s.why(), nil
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}

// Usage has no figures: the sandbox shares this process with everything else.
func (s *owned) Usage(context.Context) (sandbox.Usage, error) {
	if !s.alive() {
		return sandbox.Usage{}, fmt.Errorf("usage of sandbox %s: %w", s.spec.ID, sandbox.ErrNotFound)
	}
	return sandbox.Usage{Memory: -1, MemoryPeak: -1, CPU: -1, OOMKills: -1}, nil
}

func (s *owned) Destroy(context.Context) error { return s.driver.world.remove(s.box) }

// listener passes connections from Dial to the agent.
type listener struct {
	gate  *gate
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener(g *gate) *listener {
	return &listener{gate: g, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	host, guest := net.Pipe()
	select {
	case l.conns <- &gated{guest, l.gate}:
		return host, nil
	case <-l.done:
		return nil, sandbox.ErrNotFound
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "fake" }
func (address) String() string  { return "fake" }
