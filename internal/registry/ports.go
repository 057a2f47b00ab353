package registry

import (
	"context"
	"net"
	"sync"

	"cellhold"
	"cellhold/internal/session"
)

// maxSessionPorts and maxOwnerPorts are the maximum numbers of connections to ports of one session, and of all sessions of
// one owner, at the same time. They count also the connections that wait, for example until the session resumes. The
// limit of an owner is higher, so that visitors of one session cannot use up the connections to the others.
const (
	maxSessionPorts = 128
	maxOwnerPorts   = 512
)

// portCounts counts the connections to ports. Registry.mu guards it.
type portCounts struct {
	owners   map[string]int
	sessions map[cellhold.SessionID]int
}

// DialPort connects to a port on the loopback of a session's sandbox. It first resumes a hibernated session, as any other
// use does. The context bounds only the call. The connection ends when the session hibernates or ends. The error is
// NotFound if no program listens on the port. The caller must close the connection.
func (r *Registry) DialPort(ctx context.Context, s *session.Session, port int) (net.Conn, error) {
	release, err := r.reservePort(s.Record().Owner, s.ID())
	if err != nil {
		return nil, err
	}
	c, err := dialPort(ctx, s, port)
	if err != nil {
		release()
		return nil, err
	}
	return &countedConn{c, release}, nil
}

func dialPort(ctx context.Context, s *session.Session, port int) (net.Conn, error) {
	a, leave, err := s.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return a.DialPort(ctx, port)
}

// reservePort counts one connection until release is called. release can be called several times.
func (r *Registry) reservePort(owner string, id cellhold.SessionID) (release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ports.sessions[id] >= maxSessionPorts {
		return nil, cellhold.Errorf(cellhold.Exhausted, "The session has too many connections to its ports, open or waiting; the limit is %d. Retry later.", maxSessionPorts)
	}
	if r.ports.owners[owner] >= maxOwnerPorts {
		return nil, cellhold.Errorf(cellhold.Exhausted, "This token has too many connections to ports of its sessions; the limit is %d. Close some, or retry later.", maxOwnerPorts)
	}
	r.ports.owners[owner]++
	r.ports.sessions[id]++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.ports.owners[owner]--; r.ports.owners[owner] == 0 {
			delete(r.ports.owners, owner)
		}
		if r.ports.sessions[id]--; r.ports.sessions[id] == 0 {
			delete(r.ports.sessions, id)
		}
	}), nil
}

// countedConn is a connection that its owner's limit counts.
type countedConn struct {
	net.Conn
	release func()
}

// Close ends the connection. It can be called several times.
func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

// CloseWrite tells the program that no more bytes follow.
func (c *countedConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite() // the connections of attachments have it
}

// PublicPorts returns which sessions can have public ports.
func (r *Registry) PublicPorts() cellhold.PublicPorts { return r.o.PublicPorts }

// HasPublicPorts reports whether everybody can reach the ports of a session: its creation asked for that, and the
// operator still allows it.
func (r *Registry) HasPublicPorts(s *session.Session) bool {
	return s.Record().PublicPorts && r.o.PublicPorts.Allowed()
}

// checkPorts refuses public ports that the operator does not allow.
func (o *Options) checkPorts(q CreateRequest) error {
	if q.PublicPorts && !o.PublicPorts.Allowed() {
		return cellhold.Errorf(cellhold.Denied, "Public ports are not allowed on this server. Omit public_ports, or start the server with --public-ports=asked.")
	}
	return nil
}
