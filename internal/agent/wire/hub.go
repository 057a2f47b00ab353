// Package wire connects the host with the raw messages of one kernel.
//
// A wire is a connection of the host. It carries the frames of package stream in both directions. The package
// does not decide which messages of a kernel are for the host, and does not send to a kernel itself. It never
// waits for the host: if a wire cannot take more messages, it ends with a reason, and the kernel continues.
//
// The kernel's messages are hostile. Their size is bounded when they are read, and the bytes that wait for the
// host are bounded for each wire. All wires of a kernel share the memory of a message.
//
// Lock order: Hub.mu before Wire.mu.
package wire

import (
	"sync"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// maxFrame is the limit of one frame. It has space for the sizes of the parts, and for headers that the agent
// adds.
const maxFrame = guestapi.MaxWireMessage + 64<<10

// Hub has the wires of one kernel. The zero value has none. The methods are safe for concurrent use.
type Hub struct {
	mu     sync.Mutex
	wires  map[*Wire]struct{}
	closed bool
}

// Open adds a wire, unless check fails. The caller must close the wire. Open calls check under the lock of the
// hub. So after check has begun to fail, one call of End ends every wire that was opened before.
func (h *Hub) Open(check func() error) (*Wire, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := check(); err != nil {
		return nil, err
	}
	if h.closed {
		return nil, cellhold.Errorf(cellhold.NotFound, "The kernel was shut down.")
	}
	if len(h.wires) >= guestapi.MaxWires {
		return nil, cellhold.Errorf(cellhold.Conflict, "The kernel already has %d wires; the limit is %d. Close one of them.", len(h.wires), guestapi.MaxWires)
	}
	if h.wires == nil {
		h.wires = make(map[*Wire]struct{})
	}
	w := &Wire{hub: h, ready: make(chan struct{}, 1)}
	h.wires[w] = struct{}{}
	return w, nil
}

// End ends all wires. The host gets the reason, which is a sentence.
func (h *Hub) End(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.wires {
		w.end(reason)
	}
}

// Close is End, and refuses later wires.
func (h *Hub) Close(reason string) {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.End(reason)
}

// Publish queues a message of the kernel on all wires. It does not wait. If the message cannot be passed on whole,
// the host gets a note in place of it.
func (h *Hub) Publish(m jupyter.Message) {
	if h.empty() {
		return
	}
	frame := frameOf(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.wires {
		w.put(frame)
	}
}

func (h *Hub) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.wires) == 0
}

func (h *Hub) remove(w *Wire) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.wires, w)
}
