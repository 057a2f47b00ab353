package wire

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"io"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

const (
	// maxClients is the limit of connected clients of one kernel.
	maxClients = 64
	// maxAway is the limit of clients that left and can return. A page that is loaded again is a new client.
	maxAway = 8
	// keepFor is how long the messages of a client that left wait for it.
	keepFor = 10 * time.Minute
)

// kernel is one kernel with its clients.
type kernel struct {
	hub *Hub
	id  cellhold.KernelID

	mu       sync.Mutex
	clients  map[string]*client  // by name
	requests map[string]*request // by msg_id
	cells    map[cellhold.CellID]*request
	session  string            // of the kernel's messages; the server's own messages have it too
	known    bool              // the kernel has named its session
	learning bool              // a goroutine waits for it
	probes   map[string]*probe // by msg_id
	ended    error             // why there are no more messages

	answer     answer // the last one of a client to a question of a cell
	refused    string // msg_id of the last answer that the agent refused
	confirming bool   // a goroutine waits until the answer can no longer be refused

	dead       bool // the kernel is dead, and the clients know it
	deaths     int  // since the last cell that ended well
	replacing  bool // the clients know that the process is being replaced
	renewed    bool // then: because a caller asked for it
	restarting bool // a goroutine replaces it
	idle       bool // clients have the idle state of its last cell, whose end comes later

	sandbox Sandbox       // that a goroutine reads from; nil if none does
	link    Link          // nil if none is open
	linkErr error         // why link is nil
	changed chan struct{} // closed and replaced when one of these three changes, or replacing
	retry   chan struct{} // capacity 1: a token when the kernel became ready
}

func newKernel(h *Hub, id cellhold.KernelID) *kernel {
	return &kernel{hub: h, id: id, clients: map[string]*client{}, requests: map[string]*request{}, cells: map[cellhold.CellID]*request{}, probes: map[string]*probe{}, session: rand.Text(), changed: make(chan struct{}), retry: make(chan struct{}, 1)}
}

// wanted reports whether the kernel has clients.
func (k *kernel) wanted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.clients) > 0
}

// connect connects a client. For a client that is new to this server, it also returns the requests that the client sent to an
// earlier server.
func (k *kernel) connect(name string, queue Queue) (_ *Wire, adopted []*request, _ error) {
	earlier := k.hub.takeEarlier(k.id, name)
	earlier, dead := append(earlier, queue.Requested()...), queue.State().State == cellhold.KernelDead
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.clients) == 0 {
		k.dead = dead
	}
	if k.ended != nil {
		return nil, nil, k.ended
	}
	c := k.clients[name]
	if c != nil && c.failed != nil {
		k.drop(c)
		c = nil
	}
	if c == nil {
		if k.count(true) >= maxClients {
			return nil, nil, cellhold.Errorf(cellhold.Exhausted, "The kernel has %d connections; the limit is %d. Close one of them.", maxClients, maxClients)
		}
		c = newClient(k, cmp.Or(name, rand.Text()))
		c.returns = name != ""
		k.clients[c.name] = c
		adopted = k.adopt(c, earlier)
	}
	w := c.connect()
	if k.dead { // a client that asks for nothing would otherwise wait for the kernel
		c.put(k.make(IOPub, "status", nil, map[string]any{"execution_state": "dead"}), true)
	}
	return w, adopted, nil
}

// greet tells a client that the kernel is busy: the kernel does not answer its question until the cell has ended.
func (k *kernel) greet(w *Wire, queue Queue) {
	busy := queue.State().State == cellhold.KernelBusy
	k.mu.Lock()
	defer k.mu.Unlock()
	if busy && !k.idle {
		w.c.put(k.make(IOPub, "status", k.running(), map[string]any{"execution_state": "busy"}), true)
	}
}

// count returns the number of clients that are connected, or of those that left. The caller must hold mu.
func (k *kernel) count(connected bool) (n int) {
	for _, c := range k.clients {
		if (c.wire != nil) == connected {
			n++
		}
	}
	return n
}

// leave keeps the messages of a client that left. The caller must hold mu.
func (k *kernel) leave(c *client) {
	c.wire, c.left = nil, time.Now()
	shared.leave(c, c.left)
	if !c.grow(c.bytes + c.held) {
		k.drop(c)
		return
	}
	c.forget = time.AfterFunc(keepFor, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if c.wire == nil {
			k.drop(c)
		}
	})
	for k.count(false) > maxAway {
		oldest := c
		for _, o := range k.clients {
			if o.wire == nil && o.left.Before(oldest.left) {
				oldest = o
			}
		}
		k.drop(oldest)
	}
}

// drop removes a client. Its cells continue. Without clients the link is closed. The caller must hold mu.
func (k *kernel) drop(c *client) {
	if k.clients[c.name] != c {
		return
	}
	delete(k.clients, c.name)
	c.release()
	for _, r := range k.requests {
		if r.client == c {
			k.remove(r)
		}
	}
	if len(k.clients) == 0 && k.link != nil {
		_ = k.link.Close() // its reader then ends, or opens another link for the next client
		k.link, k.linkErr = nil, errNoLink
	}
}

// end ends all clients with an error, after the messages that wait for them. io.EOF means that the session has ended, and
// with it the cells.
func (k *kernel) end(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.finish(err)
}

// finish is end for a caller that holds mu.
func (k *kernel) finish(err error) {
	if k.ended != nil {
		return
	}
	for _, r := range k.requests {
		r.stop()
		if err == io.EOF {
			k.complete(r, errorReply(string(cellhold.StatusLost), "The session has ended."))
		}
	}
	if err == io.EOF && !k.dead {
		k.state("dead")
	}
	k.ended = err
	k.notify()
	for _, c := range k.clients {
		if c.wire == nil {
			k.drop(c)
			continue
		}
		c.fail(err)
	}
	if k.link != nil {
		_ = k.link.Close()
	}
}

// deliver passes a message of the kernel to its clients.
func (k *kernel) deliver(m guestapi.WireMessage) {
	h, _, err := jupyter.DecodeHeader(m.Header)
	parent, _, _ := jupyter.DecodeHeader(m.Parent) // a message without a valid parent is no answer
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.requests[parent.MsgID]
	if k.probed(m, h, parent.MsgID) {
		return
	}
	if m.Problem != "" {
		k.problem(m, r)
		return
	}
	if err != nil || h.MsgID == "" || h.MsgType == "" || len(h.Session) > maxName {
		return // no client could use it
	}
	k.learned(h)
	f := Frame{Channel: m.Channel, Header: m.Header, Parent: m.Parent, Metadata: m.Metadata, Content: m.Content, Buffers: m.Buffers}
	switch {
	case m.Channel == IOPub:
		if h.MsgType == "status" {
			k.status(m.Content, parent, r)
		}
		k.publish(f, h.MsgType)
	case r == nil:
	case m.Channel == Stdin && r.cell != "" && h.MsgType == "input_request":
		r.client.put(f, true)
	case m.Channel == r.channel && !r.replied:
		r.reply(m.Content)
		r.client.put(f, true)
	}
	k.settle(r)
}

// status notes a state of the kernel, and of the request that it answers, if there is one. The caller must hold mu.
func (k *kernel) status(content json.RawMessage, parent jupyter.Header, r *request) {
	var c struct {
		State string `json:"execution_state"`
	}
	if json.Unmarshal(content, &c) != nil {
		return
	}
	if parent.MsgType == "execute_request" {
		k.idle = c.State == "idle"
	}
	if r != nil {
		r.busy = r.busy || c.State == "busy"
		r.idle = r.idle || c.State == "idle"
	}
}

// publish passes a message to all clients. The caller must hold mu.
func (k *kernel) publish(f Frame, msgType string) {
	keep := msgType == "status" || msgType == "execute_input" || msgType == "error"
	for _, c := range k.clients {
		c.put(f, keep)
	}
}

// problem answers a request that the agent refused, and reports a message that was left out. The caller must hold mu.
func (k *kernel) problem(m guestapi.WireMessage, r *request) {
	switch {
	case m.Channel == Stdin:
		parent, _, _ := jupyter.DecodeHeader(m.Parent)
		k.refused = parent.MsgID
	case m.Channel == IOPub:
		k.publish(k.make(IOPub, "stream", m.Parent, streamContent(m.Problem)), "stream")
	case r != nil && !r.replied && m.Channel == r.channel: // another message can have the id of a request
		k.refuse(r, cellhold.Errorf(cellhold.Unavailable, "%s", m.Problem))
	}
}
