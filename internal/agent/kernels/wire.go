package kernels

import (
	"crypto/rand"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/agent/wire"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// OpenWire adds a wire for the kernel's raw messages. The caller must serve it with SendRaw, and close it.
func (k *Kernel) OpenWire() (*wire.Wire, error) { return k.wires.Open(k.options.CheckStart) }

// EndWires ends all wires before a renewal.
func (k *Kernel) EndWires() {
	k.wires.End("The sandbox is being renewed. Open the wire again after the renewal.")
}

// publish passes a message of the kernel on to the wires. It leaves out the answers to the agent.
func (p *process) publish(m jupyter.Message) {
	session := m.Header.Session
	if s := p.session.Load(); session != "" && (s == nil || *s != session) {
		p.session.Store(&session)
	}
	// The kernel sends iopub_welcome because the agent has subscribed.
	if jupyter.IsOwn(m.Parent.MsgID) || m.Header.MsgType == "iopub_welcome" {
		return
	}
	if m.Header.MsgID == "" {
		p.addHeaders(&m)
	}
	p.kernel.wires.Publish(m)
}

// addHeaders gives a message the headers that clients expect. The last output of a dead kernel has only a type and
// the id of its request. Clients expect one session in all messages of a process.
func (p *process) addHeaders(m *jupyter.Message) {
	k := p.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cell != nil && k.cell.msgID == m.Parent.MsgID && len(k.cell.header) > 0 {
		m.RawParent = k.cell.header
	}
	m.RawHeader, m.Header.MsgID = nil, rand.Text()
	if s := p.session.Load(); m.Header.Session == "" && s != nil {
		m.Header.Session = *s
	}
	if m.Header.Date == "" {
		m.Header.Date = time.Now().UTC().Format(time.RFC3339Nano)
	}
}

// SendRaw sends a message of a wire to the kernel, and does not wait for the kernel. It refuses executions, because
// only cells have a deadline and events.
func (k *Kernel) SendRaw(m jupyter.Message) error {
	if err := checkRaw(m); err != nil {
		return err
	}
	if err := k.options.CheckStart(); err != nil {
		return err
	}
	client, unsent, err := k.admitRaw(m)
	if err != nil {
		return err
	}
	err = client.SendMessage(m, guestapi.WireBytes)
	if err != nil {
		unsent()
	}
	if errors.Is(err, jupyter.ErrFull) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel does not read its messages, and more than %d bytes would wait for it. Send the message again when the kernel answers.", guestapi.WireBytes)
	}
	if err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel did not take the message.")
	}
	return nil
}

func checkRaw(m jupyter.Message) error {
	if err := checkNames(m.RawHeader); err != nil {
		return err
	}
	switch {
	case m.Channel == jupyter.IOPub:
		return cellhold.Errorf(cellhold.Invalid, "A kernel takes no messages on iopub.")
	case m.Header.MsgType == "execute_request":
		return cellhold.Errorf(cellhold.Invalid, "A wire takes no execute_request. Submit the code as a cell.")
	case jupyter.IsOwn(m.Header.MsgID):
		return cellhold.Errorf(cellhold.Invalid, "The message id %.50q is reserved for the agent.", m.Header.MsgID)
	}
	return nil
}

// admitRaw returns the connection for a message of a wire, and remembers the message. The caller must call unsent if
// the message cannot be sent.
func (k *Kernel) admitRaw(m jupyter.Message) (client *jupyter.Client, unsent func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process == nil || k.process.client == nil {
		return nil, nil, cellhold.Errorf(cellhold.Conflict, "The kernel is %s.", k.state)
	}
	// With the id of the running cell, a status of this message could end the cell early.
	if _, used := k.recent.byMessage(m.Header.MsgID); used {
		return nil, nil, cellhold.Errorf(cellhold.Conflict, "The message id %.50q belongs to a cell.", m.Header.MsgID)
	}
	unsent = func() {}
	if m.Channel == jupyter.Stdin && m.Header.MsgType == "input_reply" && k.cell != nil {
		c, question := k.cell, k.cell.asked
		c.asked = 0 // this message answers the question
		unsent = func() { k.askAgain(c, question) }
	}
	if m.Header.MsgID != "" { // with an empty id, all messages without a parent would count as its answers
		k.raw.remember("", m.Header.MsgID)
	}
	return k.process.client, unsent, nil
}

// askAgain opens a question whose answer was not sent, unless the cell has asked a newer one.
func (k *Kernel) askAgain(c *cell, question int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.asked == 0 {
		c.asked = question
	}
}

// isRaw reports whether a message of a wire has this id.
func (k *Kernel) isRaw(msgID string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.raw.byMessage(msgID)
	return ok
}

// used reports whether a recent cell or a message of a wire has this id. The caller must hold mu.
func (k *Kernel) used(msgID string) bool {
	_, cell := k.recent.byMessage(msgID)
	_, raw := k.raw.byMessage(msgID)
	return cell || raw
}
