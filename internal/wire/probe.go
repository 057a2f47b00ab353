package wire

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// probeTime limits the wait for the answer to a probe. A kernel answers at once, unless its code prevents the answer.
const probeTime = time.Second

// probe is a kernel_info_request of the server on control. Its answer has the session of the kernel's messages, and
// comes after all messages that the kernel sent before it. No client gets the answer.
type probe struct {
	answered      chan struct{} // closed at the reply
	replied, idle bool
}

// probe sends a probe, and waits for the answer.
func (k *kernel) probe(ctx context.Context) {
	id, p := rand.Text(), &probe{answered: make(chan struct{})}
	k.mu.Lock()
	link := k.link
	if link != nil {
		k.probes[id] = p
	}
	k.mu.Unlock()
	if link == nil {
		return
	}
	header, err := json.Marshal(jupyter.Header{MsgID: id, MsgType: "kernel_info_request", Session: id, Username: "server", Version: "5.3",
		Date: time.Now().UTC().Format(dateFormat)})
	if err == nil {
		err = link.Send(guestapi.WireMessage{Channel: Control, Header: header})
	}
	t := time.NewTimer(probeTime)
	defer t.Stop()
	if err == nil {
		select {
		case <-p.answered:
			return
		case <-t.C:
		case <-ctx.Done():
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.probes, id)
}

// probed reports whether a message answers a probe. The caller must hold mu.
func (k *kernel) probed(m guestapi.WireMessage, h jupyter.Header, id string) bool {
	p := k.probes[id]
	if p == nil {
		return false
	}
	k.learned(h)
	switch {
	case m.Channel != IOPub && !p.replied:
		p.replied = true
		close(p.answered)
	case m.Channel == IOPub && strings.Contains(string(m.Content), `"idle"`):
		p.idle = true
	}
	if p.replied && p.idle || m.Problem != "" {
		delete(k.probes, id)
	}
	return true
}

// learned notes the session id in a message of the kernel. The caller must hold mu.
func (k *kernel) learned(h jupyter.Header) {
	if h.Session != "" && len(h.Session) <= maxName {
		k.session, k.known = h.Session, true
	}
}

// learn waits until the kernel has sent its session id. So all messages of the server can have this id.
func (k *kernel) learn(ctx context.Context) {
	k.mu.Lock()
	known := k.known
	k.mu.Unlock()
	if !known {
		k.probe(ctx)
	}
}

// learnAgain runs learn in a new goroutine. A hostile agent can cause calls without end, so only one such goroutine
// runs at a time. The caller must hold mu.
func (k *kernel) learnAgain() {
	if k.known || k.learning || k.link == nil {
		return
	}
	k.learning = k.hub.goRun(func(ctx context.Context) {
		k.learn(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.learning = false
	})
}

// Flush waits until the clients have the earlier messages of their kernels. The session calls it before it saves its
// sandbox.
func (h *Hub) Flush(ctx context.Context) {
	h.each(func(k *kernel) {
		if k.wanted() {
			k.probe(ctx)
		}
	})
}

// forgetProcess notes that the kernel gets another process, with another session id. The caller must hold mu.
func (k *kernel) forgetProcess() {
	k.known = false
	clear(k.probes)
	for _, r := range k.requests {
		if r.cell == "" { // events report the ends of cells
			k.remove(r)
		}
	}
}
