package mcp

import (
	"errors"
	"fmt"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxConnections is the maximum number of MCP sessions. Each needs some kilobytes.
	maxConnections = 1000
	// maxOwnConnections is the maximum number of MCP sessions of a caller. Above it, the caller's oldest unused one ends.
	maxOwnConnections = 100
)

// errClosing is the cause of a context that ends because the server or the MCP session closes. The call must answer, and
// its cell continues.
var errClosing = errors.New("the connection closes")

// connection is an MCP session over HTTP.
type connection struct {
	caller  string
	session *sdk.ServerSession
	closing waits     // has the running calls
	calls   int       // that run now
	used    time.Time // end of the last call
}

// connections has the MCP sessions over HTTP. The zero value is ready for use.
type connections struct {
	mu  sync.Mutex
	own map[string]*connection // by id
}

// add adds an MCP session of a caller. It returns the caller's oldest unused one if there would be too many; the caller of
// add must close it, and must call leave when the MCP session has begun. live returns the MCP sessions that have not
// ended, by id.
func (c *connections) add(caller string, session *sdk.ServerSession, live func() map[string]bool) (old *connection, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, open := 0, live()
	for id, other := range c.own {
		switch {
		case !open[id]:
			other.closing.end()
			delete(c.own, id)
		case other.caller == caller:
			n++
			if other.calls == 0 && (old == nil || other.used.Before(old.used)) {
				old = other
			}
		}
	}
	full := n >= maxOwnConnections || len(c.own) >= maxConnections
	switch {
	case !full:
		old = nil
	case old != nil:
		delete(c.own, old.session.ID())
	case n >= maxOwnConnections:
		return nil, nil, fmt.Errorf("you have %d MCP sessions, and calls run in all of them: end one with DELETE /mcp", n)
	default:
		return nil, nil, errors.New("this server has too many MCP sessions: retry later, or use version 2026-07-28 of the protocol, which has none")
	}
	if c.own == nil {
		c.own = map[string]*connection{}
	}
	added := &connection{caller: caller, session: session, calls: 1, used: time.Now()}
	c.own[session.ID()] = added
	return old, func() { c.leave(added) }, nil
}

// enter notes a call in an MCP session. It returns nil if there is no such MCP session. The caller must call leave.
func (c *connections) enter(id string) (found *connection, leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found = c.own[id]; found == nil {
		return nil, nil
	}
	found.calls++
	return found, func() { c.leave(found) }
}

// leave notes the end of a call.
func (c *connections) leave(from *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from.calls--
	from.used = time.Now()
}

// end ends the calls of a caller's MCP session. Their cells continue.
func (c *connections) end(caller, id string) {
	c.mu.Lock()
	found := c.own[id]
	c.mu.Unlock()
	if found != nil && found.caller == caller {
		found.closing.end()
	}
}
