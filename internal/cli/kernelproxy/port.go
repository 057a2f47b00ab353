package kernelproxy

import (
	"bytes"
	"cellhold/internal/jupyter/zmtp"
	"cellhold/internal/pause"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// The sockets of a kernel.
const (
	shell     = "shell"
	iopub     = "iopub"
	stdin     = "stdin"
	control   = "control"
	heartbeat = "hb"
)

var portNames = []string{shell, iopub, stdin, control, heartbeat}

// address is the address of all sockets. Other machines cannot reach it.
const address = "127.0.0.1"

const (
	// maxPeers is the limit of programs at one socket.
	maxPeers = 32
	// maxTopics is the limit of the subscriptions of one program. Programs have one, of all messages.
	maxTopics = 64
	// handshakeTime limits the handshake of a program.
	handshakeTime = 10 * time.Second
	// joinTime is how long a new connection can delay the messages of programs.
	joinTime = time.Second
	// maxWaiting is the limit of bytes that wait for a program that does not read. One message of any size can wait.
	maxWaiting = 16 << 20
	// maxSmall is the limit of a message at the sockets that take no Jupyter messages.
	maxSmall = 64 << 10
	// drainTime is how long programs can read their last messages at the end.
	drainTime = time.Second
	// acceptPause is the pause after a connection that could not be accepted, such as without a free descriptor.
	acceptPause = 100 * time.Millisecond
)

// port is one ZeroMQ socket of the kernel: a ROUTER, or an XPUB for iopub.
type port struct {
	name     string
	listener net.Listener

	mu      sync.Mutex
	closed  bool
	opened  int              // connections, also during the handshake
	peers   map[string]*peer // by identity
	joining int              // connections that are not ready yet
	settled chan struct{}    // closed when joining is 0 again
}

// peer is one connected program.
type peer struct {
	conn   *zmtp.Conn
	topics map[string]bool // at iopub; port.mu guards it
	slow   bool            // some output was dropped; port.mu guards it
}

// listen opens a socket on a free port.
func listen(ctx context.Context, name string) (*port, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address+":0")
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", name, err)
	}
	return &port{name: name, listener: l, peers: map[string]*peer{}}, nil
}

// number returns the number of the TCP port.
func (p *port) number() int { return p.listener.Addr().(*net.TCPAddr).Port }

// serve accepts programs until close, and calls take for each of their messages. At iopub, it calls take for each new
// subscription, with its topic. It waits for their connections.
func (p *port) serve(ctx context.Context, take func(identity string, frames [][]byte)) {
	var peers sync.WaitGroup
	defer peers.Wait()
	for {
		nc, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !pause.For(ctx, acceptPause) {
				return
			}
			continue
		}
		joined, ok := p.enter()
		if !ok {
			nc.Close()
			continue
		}
		peers.Go(func() {
			defer p.leave()
			defer joined()
			if !isOwn(ctx, nc) {
				nc.Close()
				return
			}
			p.talk(ctx, nc, joined, take)
		})
	}
}

// enter counts a connection. ok is false if there are too many. The connection is joining until it calls joined, or for
// joinTime.
func (p *port) enter() (joined func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.opened >= maxPeers {
		return nil, false
	}
	p.opened++
	if p.joining++; p.joining == 1 {
		p.settled = make(chan struct{})
	}
	done := sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.joining--; p.joining == 0 {
			close(p.settled)
		}
	})
	late := time.AfterFunc(joinTime, done)
	return func() {
		late.Stop()
		done()
	}, true
}

// settle waits while connections are joining. A program connects to all sockets, and sends its first request before its
// subscription has arrived. It would then wait for outputs that it cannot get.
func (p *port) settle(ctx context.Context) {
	p.mu.Lock()
	settled, wait := p.settled, p.joining > 0
	p.mu.Unlock()
	if !wait {
		return
	}
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

func (p *port) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened--
}

// talk reads the messages of one program. It calls joined when the program has connected, and at iopub subscribed.
func (p *port) talk(ctx context.Context, nc net.Conn, joined func(), take func(identity string, frames [][]byte)) {
	o := zmtp.Options{Type: zmtp.Router, MaxMessage: maxSmall}
	switch p.name {
	case iopub:
		o.Type = zmtp.XPub
	case shell, control, stdin:
		o.MaxMessage, o.MaxFrames = maxFrames, maxBuffers+maxExtra
	}
	handshake, cancel := context.WithTimeout(ctx, handshakeTime)
	conn, err := zmtp.New(handshake, nc, o)
	cancel()
	if err != nil {
		return
	}
	defer conn.Close()
	me := &peer{conn: conn, topics: map[string]bool{}}
	identity := string(conn.Peer().Identity)
	if identity == "" {
		identity = "\x00" + rand.Text() // as ZeroMQ does it
	}
	if !p.add(identity, me) {
		return
	}
	defer p.remove(identity, me)
	if p.name != iopub {
		joined()
	}
	for {
		m, err := conn.Recv()
		if err != nil {
			return
		}
		switch {
		case p.name == iopub:
			if topic, added := p.subscribe(me, m); added {
				joined()
				take(identity, [][]byte{topic})
			}
		case p.name == heartbeat && m.Dropped == 0:
			_ = conn.SendWithin(maxSmall, m.Frames...) // the reader of a closed connection ends
		case m.Dropped > 0:
			take(identity, nil)
		default:
			take(identity, m.Frames)
		}
	}
}

// add registers a program. A second connection with the same identity replaces the first one, which is dead or will be.
func (p *port) add(identity string, of *peer) bool {
	p.mu.Lock()
	old, closed := p.peers[identity], p.closed
	if !closed {
		p.peers[identity] = of
	}
	p.mu.Unlock()
	if old != nil && !closed {
		_ = old.conn.Close()
	}
	return !closed
}

func (p *port) remove(identity string, of *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peers[identity] == of {
		delete(p.peers, identity)
	}
}

// subscribe reads a subscription, or its end: ZMTP 3.0 sends them as messages. It reports whether it is a new one.
func (p *port) subscribe(of *peer, m zmtp.Message) (topic []byte, added bool) {
	if m.Dropped > 0 || len(m.Frames) != 1 || len(m.Frames[0]) == 0 {
		return nil, false
	}
	topic = m.Frames[0][1:]
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case m.Frames[0][0] == 0:
		delete(of.topics, string(topic))
	case m.Frames[0][0] == 1 && len(of.topics) < maxTopics:
		of.topics[string(topic)] = true
		return topic, true
	}
	return nil, false
}

// send sends a message to one program. A program that left does not get it, as with every kernel.
func (p *port) send(identity string, frames [][]byte) {
	p.mu.Lock()
	to := p.peers[identity]
	p.mu.Unlock()
	if to != nil {
		_ = to.conn.SendWithin(maxWaiting, frames...) // a program that does not read loses it
	}
}

// publish sends a message to all programs with a subscription of its topic, which is the first frame. A program that does
// not read loses it, as with every kernel. publish returns the number of programs that begin to lose messages.
func (p *port) publish(frames [][]byte) (losing int) {
	p.mu.Lock()
	var to []*peer
	for _, of := range p.peers {
		for topic := range of.topics {
			if bytes.HasPrefix(frames[0], []byte(topic)) {
				to = append(to, of)
				break
			}
		}
	}
	p.mu.Unlock()
	for _, of := range to {
		full := errors.Is(of.conn.SendWithin(maxWaiting, frames...), zmtp.ErrFull)
		p.mu.Lock()
		if full && !of.slow {
			losing++
		}
		of.slow = full
		p.mu.Unlock()
	}
	return losing
}

// close ends all connections, after their programs have read the last messages. It can be called twice.
func (p *port) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	conns := make([]*zmtp.Conn, 0, len(p.peers))
	for _, of := range p.peers {
		conns = append(conns, of.conn)
	}
	p.mu.Unlock()
	var closing sync.WaitGroup
	for _, conn := range conns {
		closing.Go(func() {
			late := time.AfterFunc(drainTime, func() { _ = conn.Close() })
			defer late.Stop()
			conn.Drain()
			_ = conn.Close()
		})
	}
	closing.Wait()
}
