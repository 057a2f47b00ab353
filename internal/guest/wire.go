package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter/stream"
	"cellhold/internal/memory"
)

const (
	// wireVersion is the first version of the protocol with wires.
	wireVersion = 4
	// maxWire bounds the parts of one message. The agent can add a header to the largest message of a kernel.
	maxWire = guestapi.MaxWireMessage + 64<<10
	// wireParts are the JSON parts of a message. Buffers follow.
	wireParts = 4
)

// Wire is a connection for the raw messages of one kernel. Send can be called from any goroutine. One goroutine
// at a time can call Receive. The caller must close the wire.
type Wire struct {
	kernel *Kernel
	conn   net.Conn
	in     *stream.Conn
	write  sync.Mutex      // held while one message is written
	life   context.Context // ends with Close
	end    context.CancelFunc
	turn   chan struct{} // capacity 1: a token while one of the session's wires has a share
	share  *memory.Share // of a large message; nil for a small one; used by Receive only
	full   bool          // there was no memory for the message that is being received
}

// smaller and larger are the memory for the large messages of all wires, from their arrival until the caller asks for the next
// one. Most are plots of less than mediumWire, so they do not wait for larger ones.
var smaller, larger = memory.New(maxWire), memory.New(maxWire)

const (
	mediumWire = 2 << 20
	// largeWait limits the wait for memory. The agent closes a wire whose host does not read.
	largeWait = 30 * time.Second
	// wireRate is the rate at which a large message must arrive after slowStart, in bytes a second. So the largest one has
	// its memory for 13 s, and others get theirs within largeWait.
	wireRate = 4 << 20
)

// OpenWire opens a wire. The context bounds only the call. The error is Unsupported if the agent has no wires,
// and Conflict if the kernel has too many of them or is being renewed.
func (k *Kernel) OpenWire(ctx context.Context) (*Wire, error) {
	conn, err := k.client.dial(ctx)
	if err != nil {
		return nil, k.wrap("open a wire of", noAnswer(ctx, err))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	bytes, err := wireOf(conn, k.path)
	if !stop() || err != nil {
		abort(conn)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, k.wrap("open a wire of", k.client.outdated(ctx, err, wireVersion))
	}
	w := &Wire{kernel: k, conn: conn, turn: k.client.wires}
	w.life, w.end = context.WithCancel(context.WithoutCancel(ctx))
	w.in = stream.New(bytes, stream.Options{MaxMessage: maxWire, Notes: true, Large: w.large})
	return w, nil
}

// large takes memory for a large message. If there is none in time, the message is left out, and the wire continues. One wire
// of a session at a time has such memory. The message must arrive at wireRate. So a guest that sends half a message cannot
// keep the memory from others.
func (w *Wire) large(size int64) (keep bool, err error) {
	ctx, cancel := context.WithTimeout(w.life, largeWait)
	defer cancel()
	if w.share, err = w.take(ctx, size); err == nil {
		return true, w.until(time.Now().Add(slowStart + time.Duration(size)*time.Second/wireRate))
	}
	w.full = true
	return false, context.Cause(w.life)
}

// take waits for the turn of the wire, and then for memory.
func (w *Wire) take(ctx context.Context, size int64) (*memory.Share, error) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	budget := smaller
	if size > mediumWire {
		budget = larger
	}
	share, err := budget.Take(ctx, size)
	if err != nil {
		<-w.turn
	}
	return share, err
}

// release gives the memory of the last message back.
func (w *Wire) release() {
	if w.share != nil {
		w.share.Release()
		w.share = nil
		<-w.turn
	}
	w.full = false
}

// until sets the deadline of reads, unless the wire is closed.
func (w *Wire) until(t time.Time) error {
	err := w.conn.SetReadDeadline(t)
	if w.life.Err() != nil { // otherwise the deadline of Close can be lost
		abort(w.conn)
	}
	return err
}

// wireOf turns a connection to the agent into a wire.
func wireOf(conn net.Conn, path string) (net.Conn, error) {
	resp, bytes, err := upgrade(conn, http.MethodGet, path+"/wire", guestapi.WireUpgrade)
	if err != nil {
		return nil, cellhold.Wrap(cellhold.Unavailable, err, "The sandbox does not answer.")
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return bytes, nil
}

// Close ends the wire. Receive and Send return with an error. Close can be called twice.
func (w *Wire) Close() error {
	w.end()
	abort(w.conn)
	return nil
}

// Send sends a message to the kernel. It waits for the agent to read the message, and for no answer. If the
// agent does not pass the message on, Receive returns a message with a Problem. After an error of the link the
// wire has ended.
func (w *Wire) Send(m guestapi.WireMessage) error {
	ch := wireChannels[m.Channel]
	if ch == 0 || ch == stream.IOPub {
		return cellhold.Errorf(cellhold.Invalid, "A kernel takes no messages on channel %.20q.", m.Channel)
	}
	parts := append([][]byte{part(m.Header), part(m.Parent), part(m.Metadata), part(m.Content)}, m.Buffers...)
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > guestapi.MaxWireMessage {
		return cellhold.Errorf(cellhold.Exhausted, "The message has %d bytes; the limit is %d bytes.", size, guestapi.MaxWireMessage)
	}
	frame, err := stream.Frame(ch, parts...)
	if err != nil {
		return cellhold.Wrap(cellhold.Exhausted, err, "The message has too many buffers.")
	}
	w.write.Lock()
	defer w.write.Unlock()
	_ = w.conn.SetWriteDeadline(time.Now().Add(callTimeout))
	if _, err := w.conn.Write(frame); err != nil {
		abort(w.conn) // a part of the frame can be sent
		return w.kernel.wrap("send to", cellhold.Wrap(cellhold.Unavailable, err, "The link to the sandbox broke."))
	}
	return nil
}

// Receive returns the next message of the kernel. A message with parts that are not valid comes as a Problem, so that
// a kernel cannot end its wires by one message. A large message takes a share of a budget until the next call, so the caller
// must call Receive again soon. After an error the wire has ended. If the agent closed the wire, the
// error has the reason.
func (w *Wire) Receive() (guestapi.WireMessage, error) {
	w.release()
	raw, err := w.in.Recv()
	if w.share != nil && err == nil {
		err = w.until(time.Time{})
	}
	switch {
	case errors.Is(err, stream.ErrProtocol):
		err = invalidData("a frame that is not valid")
	case err != nil:
		err = cellhold.Wrap(cellhold.Unavailable, err, "The link to the sandbox broke.")
	}
	var m guestapi.WireMessage
	switch {
	case err == nil && w.full && raw.Channel != stream.Note:
		m = leftOut(raw, "the server has no memory for it now")
	case err == nil:
		m, err = parseWire(raw)
	}
	if err != nil {
		w.release()
		return guestapi.WireMessage{}, w.kernel.wrap("read raw messages of", err)
	}
	return m, nil
}

var wireChannels = map[string]stream.Channel{
	"shell": stream.Shell, "control": stream.Control, "stdin": stream.Stdin, "iopub": stream.IOPub,
}

var wireNames = map[stream.Channel]string{
	stream.Shell: "shell", stream.Control: "control", stream.Stdin: "stdin", stream.IOPub: "iopub",
}

// parseWire checks a message. The parts before the buffers become JSON objects of bounded depth in valid UTF-8.
func parseWire(raw stream.Message) (m guestapi.WireMessage, err error) {
	if raw.Dropped > 0 || len(raw.Parts) < wireParts {
		return m, invalidData("a message that is too large")
	}
	m.Channel = wireNames[raw.Channel]
	valid := true
	for i, to := range []*json.RawMessage{&m.Header, &m.Parent, &m.Metadata, &m.Content} {
		var ok bool
		if i < 2 {
			*to, ok = checkHeader(raw.Parts[i])
		} else {
			*to, ok = checkPart(raw.Parts[i])
		}
		valid = valid && ok
	}
	switch {
	case raw.Channel == stream.Note && valid:
		return parseNote(m)
	case raw.Channel == stream.Note:
		return guestapi.WireMessage{}, invalidData("a note that is not valid")
	case !valid:
		return leftOut(raw, "it does not have the form of the protocol"), nil
	}
	if len(raw.Parts) > wireParts {
		m.Buffers = raw.Parts[wireParts:]
	}
	return m, nil
}

// leftOut returns a message that names a message of the kernel, and the reason why it is left out. The reason is the end of a
// sentence.
func leftOut(raw stream.Message, reason string) guestapi.WireMessage {
	m := guestapi.WireMessage{Channel: wireNames[raw.Channel], Header: json.RawMessage("{}"), Parent: json.RawMessage("{}"),
		Problem: "A message of the kernel was left out, because " + reason + "."}
	if len(raw.Parts) > 1 {
		m.Header, _ = checkHeader(raw.Parts[0])
		m.Parent, _ = checkHeader(raw.Parts[1])
	}
	return m
}

// checkHeader is checkPart for a header, which has a limit of its own.
func checkHeader(b []byte) (object json.RawMessage, ok bool) {
	if object, ok = checkPart(b); len(object) > guestapi.MaxWireHeader {
		return json.RawMessage("{}"), false
	}
	return object, ok
}

// parseNote returns the message that a note is about. For the last note, it returns the reason as an error.
func parseNote(m guestapi.WireMessage) (guestapi.WireMessage, error) {
	var n guestapi.WireNote
	if len(m.Content) > maxProblem || json.Unmarshal(m.Content, &n) != nil {
		return guestapi.WireMessage{}, invalidData("a note that is not valid")
	}
	if n.Problem = sentence(n.Problem); n.Problem == "" {
		n.Problem = "The agent gave no reason."
	}
	if n.Last {
		return guestapi.WireMessage{}, cellhold.Errorf(cellhold.Unavailable, "%s", n.Problem)
	}
	if wireChannels[n.Channel] == 0 {
		return guestapi.WireMessage{}, invalidData("a note about an unknown channel")
	}
	return guestapi.WireMessage{Channel: n.Channel, Header: m.Header, Parent: m.Parent, Problem: n.Problem}, nil
}

// checkPart returns a JSON object in valid UTF-8. It returns an empty object for all other bytes.
func checkPart(b []byte) (object json.RawMessage, ok bool) {
	if !utf8.Valid(b) {
		b = bytes.ToValidUTF8(b, []byte("\uFFFD")) // some kernels send other bytes
	}
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) || !fits(b, 0, 0) || !json.Valid(b) {
		return json.RawMessage("{}"), false
	}
	return b, true
}

// part returns a part of a message, which can be empty.
func part(b json.RawMessage) []byte {
	if len(b) == 0 {
		return []byte("{}")
	}
	return b
}
