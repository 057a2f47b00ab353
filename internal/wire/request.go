package wire

import (
	"bytes"
	"container/list"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/record"
	"cellhold/internal/session/terms"
)

const (
	// maxRequests is the limit of a client's requests that wait for their reply. If there are more, the oldest one is
	// forgotten: a kernel needs not answer.
	maxRequests = 1000
	// maxBuffers is the limit of the buffers of one message. The agent refuses messages with more.
	maxBuffers = 1020
	// grace is how long after the end of a cell the kernel's reply and idle status can come. They arrive on another
	// connection than the end.
	grace = time.Second
)

// request is a message of a client that waits for its reply. kernel.mu guards it.
type request struct {
	client  *client
	id      string // its msg_id
	header  json.RawMessage
	channel string
	kind    string          // its type without "_request"
	cell    cellhold.CellID // of an execute_request on shell; empty for all others
	place   *list.Element   // in client.asked; nil for a cell

	busy, replied, idle bool
	failed              bool        // the client has the reply of a cell that failed
	timer               *time.Timer // completes it after the end of its cell
}

func (r *request) stop() {
	if r.timer != nil {
		r.timer.Stop()
	}
}

// reply notes the reply to the request.
func (r *request) reply(content json.RawMessage) {
	var c struct {
		Status string `json:"status"`
	}
	r.replied = true
	r.failed = r.cell != "" && (json.Unmarshal(content, &c) != nil || c.Status != "ok")
}

// settle forgets a request that is complete. A cell stays until its end is recorded. The caller must hold mu.
func (k *kernel) settle(r *request) {
	if r != nil && r.replied && r.idle && (r.cell == "" || r.timer != nil) {
		k.remove(r)
	}
}

// add remembers a request. A client that has too many forgets the oldest one. The cells are bounded by the kernel's queue. The
// caller must hold mu.
func (k *kernel) add(r *request) {
	k.requests[r.id] = r
	if r.cell != "" {
		k.cells[r.cell] = r
		return
	}
	asked := &r.client.asked
	if asked.Len() >= maxRequests {
		k.remove(asked.Front().Value.(*request))
	}
	r.place = asked.PushBack(r)
}

// remove forgets a request. The caller must hold mu.
func (k *kernel) remove(r *request) {
	if k.requests[r.id] != r {
		return
	}
	r.stop()
	delete(k.requests, r.id)
	delete(k.cells, r.cell)
	if r.place != nil {
		r.client.asked.Remove(r.place)
	}
}

// Send passes a message of the client on. An execute_request on shell becomes a cell of the session. If a request
// cannot be passed on, the client gets a reply with the error, and Send returns nil.
func (w *Wire) Send(ctx context.Context, f Frame) error {
	h, err := check(&f)
	if err != nil {
		return err
	}
	c := w.c
	r, err := w.admit(f, h)
	if err != nil {
		return err
	}
	switch {
	case f.Channel == Shell && h.MsgType == "execute_request":
		err = c.execute(ctx, f, r)
	case f.Channel == Shell:
		err = c.onShell(ctx, task{frame: f, size: f.size(), request: r})
	case f.Channel == Stdin && h.MsgType == "input_reply":
		err = c.k.reply(ctx, f, h.MsgID)
	default:
		err = c.k.forward(ctx, f)
	}
	if err == nil || r == nil {
		return err
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	c.k.refuse(r, err)
	return ctx.Err()
}

// admit remembers a request, so that its reply comes to the client. It returns nil for messages without a reply.
func (w *Wire) admit(f Frame, h jupyter.Header) (*request, error) {
	c := w.c
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	switch {
	case c.failed != nil:
		return nil, c.failed
	case c.wire != w:
		return nil, errReplaced
	}
	kind, isRequest := strings.CutSuffix(h.MsgType, "_request")
	if !isRequest || h.MsgID == "" || f.Channel == Stdin {
		return nil, nil
	}
	if old := c.k.requests[h.MsgID]; old != nil {
		if !(old.replied && old.idle) {
			return nil, cellhold.Errorf(cellhold.Conflict, "The message id %.50q belongs to a request that waits for its reply. Use another id.", h.MsgID)
		}
		c.k.remove(old)
	}
	r := &request{client: c, id: h.MsgID, header: f.Header, channel: f.Channel, kind: kind}
	if f.Channel == Shell && kind == "execute" {
		r.cell = cellhold.NewCellID()
	}
	c.k.add(r)
	return r, nil
}

// execute submits the code of an execute_request.
func (c *client) execute(ctx context.Context, f Frame, r *request) error {
	var q struct {
		Code        string          `json:"code"`
		Silent      bool            `json:"silent"`
		Store       *bool           `json:"store_history"`
		Expressions json.RawMessage `json:"user_expressions"`
		Stdin       *bool           `json:"allow_stdin"`
		Stop        *bool           `json:"stop_on_error"`
	}
	if err := json.Unmarshal(f.Content, &q); err != nil {
		return cellhold.Wrap(cellhold.Invalid, err, "The content of the execute_request does not have the form of the protocol.")
	}
	isSet := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	if string(q.Expressions) == "null" {
		q.Expressions = nil
	}
	cell := terms.Cell{Kernel: c.k.id, ID: r.cell, Code: q.Code, AllowStdin: isSet(q.Stdin, true), OnError: cellhold.OnErrorContinue, Client: &record.Request{
		Header: f.Header, Metadata: bytes.Clone(f.Metadata), Silent: q.Silent, StoreHistory: !q.Silent && isSet(q.Store, true), UserExpressions: q.Expressions}}
	if isSet(q.Stop, true) {
		cell.OnError = cellhold.OnErrorCancel
	}
	size := frameCost + len(cell.Code) + len(f.Header) + len(f.Metadata) + len(q.Expressions)
	return c.onShell(ctx, task{cell: &cell, size: int64(size), request: r})
}

// check refuses a message that no kernel could read. It fills empty parts.
func check(f *Frame) (jupyter.Header, error) {
	switch f.Channel {
	case Shell, Control, Stdin:
	default:
		return jupyter.Header{}, cellhold.Errorf(cellhold.Invalid, "A kernel takes no messages on channel %.20q. Use shell, control or stdin.", f.Channel)
	}
	if size := f.size() - frameCost; size > guestapi.MaxWireMessage {
		return jupyter.Header{}, cellhold.Errorf(cellhold.Invalid, "The message has %d bytes; the limit is %d bytes.", size, guestapi.MaxWireMessage)
	}
	if len(f.Buffers) > maxBuffers {
		return jupyter.Header{}, cellhold.Errorf(cellhold.Invalid, "The message has %d buffers; the limit is %d.", len(f.Buffers), maxBuffers)
	}
	if len(f.Header) > guestapi.MaxClientHeader || len(f.Parent) > guestapi.MaxWireHeader {
		return jupyter.Header{}, cellhold.Errorf(cellhold.Invalid, "A header of the message is too large; the limits are %d bytes, and %d bytes for a parent header.", guestapi.MaxClientHeader, guestapi.MaxWireHeader)
	}
	f.Header = bytes.Clone(f.Header) // it is kept until the reply, and shares memory with the whole message
	for _, part := range []*json.RawMessage{&f.Header, &f.Parent, &f.Metadata, &f.Content} {
		text := bytes.TrimSpace(*part)
		if len(text) == 0 || string(text) == "null" {
			*part = json.RawMessage("{}")
		} else if text[0] != '{' || !json.Valid(*part) || !utf8.Valid(*part) {
			return jupyter.Header{}, cellhold.Errorf(cellhold.Invalid, "A part of the message is not a JSON object.")
		}
	}
	h, _, err := jupyter.DecodeHeader(f.Header)
	if err != nil || h.MsgType == "" {
		return h, cellhold.Wrap(cellhold.Invalid, err, "The header of the message is not valid: it must have a msg_type, and texts as its values.")
	}
	return h, nil
}

// size returns the memory of a message.
func (f Frame) size() int64 {
	n := frameCost + len(f.Header) + len(f.Parent) + len(f.Metadata) + len(f.Content)
	for _, b := range f.Buffers {
		n += len(b) + 24 // the slice
	}
	return int64(n)
}

// refuse completes a request that the kernel does not get, with an error. The caller must hold mu.
func (k *kernel) refuse(r *request, err error) {
	name, text := "Internal", "The server failed."
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		name, text = string(e.Kind), e.Message
	}
	k.complete(r, errorReply(name, text))
}

// complete sends what is missing of the answers to a request, in place of the kernel. The caller must hold mu.
func (k *kernel) complete(r *request, reply map[string]any) {
	if k.requests[r.id] != r {
		return
	}
	k.remove(r)
	if !r.busy {
		r.client.put(k.make(IOPub, "status", r.header, map[string]any{"execution_state": "busy"}), true)
	}
	if !r.replied {
		if reply["status"] == "error" && r.kind == "execute" {
			r.client.put(k.make(IOPub, "error", r.header, map[string]any{"ename": reply["ename"], "evalue": reply["evalue"], "traceback": reply["traceback"]}), true)
		}
		r.client.put(k.make(r.channel, r.kind+"_reply", r.header, reply), true)
	}
	if !r.idle {
		r.client.put(k.make(IOPub, "status", r.header, map[string]any{"execution_state": "idle"}), true)
	}
}

// dateFormat is the form of dates in headers. Strict readers need six digits.
const dateFormat = "2006-01-02T15:04:05.000000Z"

func errorReply(name, text string) map[string]any {
	return map[string]any{"status": "error", "ename": name, "evalue": text, "traceback": []string{text}}
}

// make returns a message of the server. It looks like one of the kernel. The caller must hold mu.
func (k *kernel) make(channel, msgType string, parent json.RawMessage, content any) Frame {
	text := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // texts and lists of texts can always be encoded
		}
		return b
	}
	if parent = bytes.Clone(parent); len(parent) == 0 { // the parent of an output shares memory with the whole output
		parent = json.RawMessage("{}")
	}
	header := map[string]string{"msg_id": rand.Text(), "msg_type": msgType, "session": k.session, "username": "kernel",
		"date": time.Now().UTC().Format(dateFormat), "version": "5.3"}
	return Frame{Channel: channel, Header: text(header), Parent: parent, Metadata: json.RawMessage("{}"), Content: text(content)}
}

func streamContent(text string) map[string]string {
	return map[string]string{"name": "stderr", "text": text}
}
