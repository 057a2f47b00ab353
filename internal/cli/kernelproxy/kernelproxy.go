// Package kernelproxy lets programs on this machine use a kernel of a session as a local Jupyter kernel.
//
// It has the five ZeroMQ sockets of a kernel on loopback, and writes a connection file for them. It passes the messages
// of all programs on over one WebSocket, and the kernel's messages back. If the WebSocket breaks, it connects again, and
// no message is lost. It runs no code, and keeps no outputs. It does not end the session: it refuses the request for it.
//
// Only programs of the same user, and of root, can connect. They prove with a signature that they have read the file.
// Messages without it are dropped, and all messages are bounded. The kernel is hostile: its messages reach programs as they would reach them from a server.
//
// Lock order: none is held while another one is taken.
package kernelproxy

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/pause"
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// defaultPatience is how long a broken connection is tried again. A restart of the server takes seconds.
const defaultPatience = time.Minute

// Options configures a Proxy. Client, Session, Path and Note are required.
type Options struct {
	Client  *client.Client
	Session cellhold.SessionID
	Kernel  cellhold.Kernel // its id; and its kernelspec, which can be empty
	Path    string          // of the connection file, which must not exist; its folder is created
	Note    func(text string)

	Patience time.Duration // how long a broken connection is tried again; 0 means one minute
}

// Proxy is one connection file with its sockets. The caller must call Run or Close.
type Proxy struct {
	o       Options
	key     string // of the signatures
	session string // of the proxy's own messages, and its name as a client of the server
	file    file
	ports   map[string]*port
	routes  routes
	up      *upstream

	wrong sync.Once // notes the first message with a wrong signature
	tasks sync.WaitGroup
}

// New connects to the kernel, opens the sockets and writes the connection file. ctx bounds only New.
func New(ctx context.Context, o Options) (*Proxy, error) {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	p := &Proxy{o: o, key: rand.Text() + rand.Text(), session: rand.Text(), ports: map[string]*port{}}
	p.up = newUpstream(o.Client.Channels(o.Session, o.Kernel.ID, p.session), p.session)
	if err := p.open(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Proxy) open(ctx context.Context) (err error) {
	if err := p.up.connect(ctx); err != nil {
		return err
	}
	for _, name := range portNames {
		if p.ports[name], err = listen(ctx, name); err != nil {
			return err
		}
	}
	p.file, err = writeFile(p.o.Path, p.info())
	return err
}

// Run passes messages on until ctx or the session ends. It returns nil after both. It returns an error if the server
// cannot be reached any more. It closes the proxy.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.Close()
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	for name, at := range p.ports {
		p.tasks.Go(func() { at.serve(run, func(from string, frames [][]byte) { p.fromProgram(run, name, from, frames) }) })
	}
	err := p.pass(run)
	cancel()
	p.close()
	p.tasks.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// pass passes messages on over one WebSocket after the other.
func (p *Proxy) pass(ctx context.Context) error {
	for {
		p.up.serve(ctx, p.fromKernel)
		if ctx.Err() != nil {
			return nil
		}
		err := p.reconnect(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case cellhold.KindOf(err) == cellhold.NotFound:
			p.o.Note("The session or its kernel has ended.")
			return nil
		case err != nil:
			return err
		}
	}
}

const (
	// firstPause and lastPause are the pauses between two attempts to connect: short after a broken connection, longer
	// while a server starts.
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// reconnect connects to the kernel again.
func (p *Proxy) reconnect(ctx context.Context) error {
	until, told := time.Now().Add(p.o.Patience), false
	for next := firstPause; ; next = min(2*next, lastPause) {
		err := p.up.connect(ctx)
		if err == nil && told {
			p.o.Note("Connected again.")
		}
		if err == nil || !canPass(err) {
			return err
		}
		if time.Now().Add(next).After(until) {
			return cellhold.Wrap(cellhold.KindOf(err), err, "The connection to session %s broke, and could not be restored for %v. %v", p.o.Session, p.o.Patience, console.Message(err))
		}
		if !told {
			told = true
			p.o.Note("The connection broke. Connecting again.")
		}
		if !pause.For(ctx, next) {
			return ctx.Err()
		}
	}
}

// canPass reports whether a later attempt to connect can succeed.
func canPass(err error) bool {
	switch cellhold.KindOf(err) {
	case cellhold.Unavailable, cellhold.Exhausted, cellhold.Internal:
		return true
	}
	return false
}

// Close closes the sockets and removes the connection file. It can be called twice.
func (p *Proxy) Close() {
	p.close()
	p.up.close()
}

// close removes the file first, so that no program finds closed sockets.
func (p *Proxy) close() {
	p.file.remove()
	var closing sync.WaitGroup
	for _, at := range p.ports {
		if at != nil {
			closing.Go(at.close)
		}
	}
	closing.Wait()
}
