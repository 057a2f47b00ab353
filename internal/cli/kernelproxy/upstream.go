package kernelproxy

import (
	"bytes"
	"cellhold/client"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/server/jupyter/framing"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// maxArriving is the limit of a message of the server: the largest message of a kernel, with its table.
	maxArriving = guestapi.WireBytes
	// dialTime limits a connection, which can wait for a sandbox that starts.
	dialTime = 2 * time.Minute
	// quietTime is the time without a message after which a ping tests the connection.
	quietTime = 30 * time.Second
	// pongTime limits the wait for the answer to a ping. The server answers after the messages before the ping, and one of
	// them can resume a session.
	pongTime = 5 * time.Minute
	// probeTime limits the wait for the answer to a probe. A kernel without a thread for control answers after its cell.
	probeTime = 2 * time.Second
)

var errProtocol = errors.New("the server does not speak the subprotocol " + framing.Protocol)

// upstream is the WebSocket to the kernel. A message stays in the outbox until the server has taken it.
type upstream struct {
	way     client.Channels
	session string
	out     outbox

	conn *websocket.Conn // one goroutine at a time uses connect, serve and close

	mu      sync.Mutex
	last    frameID       // of the last message of the server
	resumed bool          // the next message is the first one of its connection
	probe   string        // msg_id of the probe; empty means none
	probed  chan struct{} // closed when the answer to the probe has come
}

// frameID identifies a message of the kernel.
type frameID struct {
	channel, header string
}

func newUpstream(way client.Channels, session string) *upstream {
	return &upstream{way: way, session: session, out: outbox{changed: make(chan struct{})}}
}

// connect opens the WebSocket.
func (u *upstream) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, u.way.URL, &websocket.DialOptions{HTTPClient: u.way.HTTP, HTTPHeader: u.way.Header,
		Subprotocols: []string{framing.Protocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return u.way.Refusal(ctx, res, err)
	}
	if conn.Subprotocol() != framing.Protocol {
		_ = conn.CloseNow()
		return u.way.Refusal(ctx, nil, errProtocol)
	}
	conn.SetReadLimit(maxArriving)
	u.conn = conn
	u.mu.Lock()
	u.resumed = true
	u.mu.Unlock()
	return nil
}

// close ends the WebSocket. The server keeps the messages that the client has not got for ten minutes.
func (u *upstream) close() {
	if u.conn != nil {
		_ = u.conn.CloseNow()
		u.conn = nil
	}
}

// serve passes messages on until the WebSocket breaks, or ctx ends. It closes the WebSocket.
func (u *upstream) serve(ctx context.Context, take func(f framing.Frame, h, parent jupyter.Header)) {
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, f := range []func(context.Context) error{func(ctx context.Context) error { return u.receive(ctx, take) }, u.send, u.confirm} {
		wg.Go(func() {
			defer cancel()
			_ = f(run) // the next connection shows the reason
		})
	}
	<-run.Done()
	_ = u.conn.CloseNow()
	wg.Wait()
	u.conn = nil
}

// receive reads the messages of the kernel.
func (u *upstream) receive(ctx context.Context, take func(f framing.Frame, h, parent jupyter.Header)) error {
	for {
		kind, message, err := u.conn.Read(ctx)
		if err != nil {
			return err
		}
		f, err := framing.DecodeV1(message)
		if kind != websocket.MessageBinary || err != nil {
			return errors.Join(errProtocol, err)
		}
		h, _, err := jupyter.DecodeHeader(f.Header)
		parent, _, problem := jupyter.DecodeHeader(f.Parent)
		if err != nil || problem != nil { // hostile code can send any header; no program could use the message
			continue
		}
		if u.isNew(f) && !u.isProbe(f, h, parent) {
			u.out.answered(parent.MsgID)
			take(f, h, parent)
		}
	}
}

// isNew reports whether a message is no repetition. The server repeats a message that it had not written completely when the
// connection broke, and programs refuse two messages with one signature.
func (u *upstream) isNew(f framing.Frame) bool {
	id := frameID{f.Channel, string(f.Header)}
	u.mu.Lock()
	defer u.mu.Unlock()
	repeated := u.resumed && id == u.last
	u.resumed, u.last = false, id
	return !repeated
}

// send writes the messages of the outbox. Messages of an earlier connection whose fate is unknown are sent again only if
// the kernel has not answered them.
func (u *upstream) send(ctx context.Context) error {
	if u.out.rewind() {
		if err := u.ask(ctx); err != nil {
			return err
		}
		u.out.forgetAnswered()
	}
	for {
		f, err := u.out.next(ctx)
		if err != nil {
			return err
		}
		if err := u.conn.Write(ctx, websocket.MessageBinary, bytes.Join(framing.EncodeV1(f), nil)); err != nil {
			return err
		}
		u.out.wrote()
	}
}

// ask sends a probe and waits for its answer. All messages that wait at the server come before this answer.
func (u *upstream) ask(ctx context.Context) error {
	h := newHeader("kernel_info_request", u.session)
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.probe, u.probed = h.MsgID, make(chan struct{})
	done := u.probed
	u.mu.Unlock()
	if err := u.conn.Write(ctx, websocket.MessageBinary, bytes.Join(framing.EncodeV1(framing.Frame{Channel: control, Header: text}), nil)); err != nil {
		return err
	}
	t := time.NewTimer(probeTime)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// isProbe reports whether a message answers the probe. Programs do not get it.
func (u *upstream) isProbe(f framing.Frame, h, parent jupyter.Header) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.probe == "" || parent.MsgID != u.probe {
		return false
	}
	if f.Channel == control && u.probed != nil {
		close(u.probed)
		u.probed = nil
	}
	return true
}

// confirm sends a ping after messages, and when there were none for some time. The server reads the ping after it has taken
// all messages before. So the answer confirms them, and a ping without an answer shows a dead connection.
func (u *upstream) confirm(ctx context.Context) error {
	for {
		n := u.out.await(ctx, quietTime)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		ping, cancel := context.WithTimeout(ctx, pongTime)
		err := u.conn.Ping(ping)
		cancel()
		if err != nil {
			return err
		}
		u.out.taken(n)
	}
}

// put queues a message of a program. It waits while the outbox is full.
func (u *upstream) put(ctx context.Context, f framing.Frame, id string) {
	u.out.put(ctx, letter{frame: f, id: id})
}
