package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

const (
	// lastTime is how long an ended wire waits for a host that does not read, to send the reason.
	lastTime = 10 * time.Second
	// oneWrite bounds the bytes of small frames that are joined to one write. The messages of a small cell then
	// take one write.
	oneWrite = 64 << 10
	// frameCost is the memory for one frame in the queue, in addition to its bytes.
	frameCost = 64
)

// tooSlow is the reason for the end of a wire whose host does not read.
const tooSlow = "The host did not read the kernel's messages in time, and some are lost. Open the wire again."

// Wire is one connection of the host.
type Wire struct {
	hub   *Hub
	ready chan struct{} // capacity 1: a token when queue or ended changes

	mu    sync.Mutex
	conn  net.Conn // set by Serve
	queue [][]byte // frames that are not written yet; shared with other wires
	bytes int      // cost of the queue, and of the frames that are being written
	ended bool     // no frame is added any more; leave empties the queue, finish leaves the reason in it
}

// Close removes the wire from its kernel. It can be called twice.
func (w *Wire) Close() { w.hub.remove(w) }

// Serve passes messages on until the host disconnects or the wire ends. Then it closes c. The host's messages
// come from r. take sends one of them to the kernel, and must not wait for the kernel: Serve must see at once that
// the host disconnects. If take fails, the host gets a note with the error, whose text must be a sentence.
func (w *Wire) Serve(c net.Conn, r io.Reader, take func(jupyter.Message) error) {
	w.mu.Lock()
	w.conn = c
	w.hurry()
	w.mu.Unlock()
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { w.read(source{c, r}, take) })
	w.write(c)
	// The deadline ends read, because on a stream of the link Close does not end a read.
	_ = c.SetReadDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// source is a connection whose bytes come from a reader that has read ahead.
type source struct {
	net.Conn
	r io.Reader
}

func (s source) Read(p []byte) (int, error) { return s.r.Read(p) }

// read passes the host's messages to the kernel until it cannot continue, and ends the wire.
func (w *Wire) read(c net.Conn, take func(jupyter.Message) error) {
	in := stream.New(c, stream.Options{MaxMessage: maxFrame})
	for {
		raw, err := in.Recv()
		if errors.Is(err, stream.ErrProtocol) {
			w.end("The host sent a frame that is not valid.")
			return
		}
		if err != nil {
			w.leave()
			return
		}
		if err := pass(raw, take); err != nil {
			w.put(refusal(raw, err))
		}
	}
}

// pass decodes a message of the host and sends it to the kernel.
func pass(raw stream.Message, take func(jupyter.Message) error) error {
	if raw.Dropped > 0 {
		return cellhold.Errorf(cellhold.Exhausted, "The message is too large; the limit is %d bytes.", guestapi.MaxWireMessage)
	}
	m, err := jupyter.FromStream(raw)
	if err != nil {
		return cellhold.Wrap(cellhold.Invalid, err, "The message does not have the form of the protocol.")
	}
	return take(m)
}

// refusal returns the note about a message of the host that the kernel does not get.
func refusal(raw stream.Message, err error) []byte {
	n := guestapi.WireNote{Channel: string(jupyter.StreamChannel(raw.Channel)), Problem: "The agent failed."}
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		n.Problem = e.Message
	}
	var header []byte
	if len(raw.Parts) > 0 {
		_, header, _ = jupyter.DecodeHeader(raw.Parts[0])
	}
	return note(nil, header, n)
}

// put queues a frame. If the queue is full, put ends the wire.
func (w *Wire) put(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if w.bytes+len(frame)+frameCost > guestapi.WireBytes {
		w.finish(tooSlow)
		return
	}
	w.queue = append(w.queue, frame)
	w.bytes += len(frame) + frameCost
	w.signal()
}

// end ends the wire with a reason. Only the first call has an effect.
func (w *Wire) end(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.finish(reason)
	}
}

// leave ends a wire whose host has disconnected. It discards the queue, because the host does not read it. It also
// removes the wire from the hub, so that it no longer counts for guestapi.MaxWires.
func (w *Wire) leave() {
	w.hub.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended, w.queue = true, nil
	if w.conn != nil {
		_ = w.conn.SetWriteDeadline(time.Unix(1, 0)) // ends a write that waits
	}
	w.signal()
}

// finish discards the queue, so that its memory is free at once. The reason is the last frame. The caller must
// hold mu.
func (w *Wire) finish(reason string) {
	w.ended = true
	w.queue = [][]byte{note(nil, nil, guestapi.WireNote{Problem: reason, Last: true})}
	w.hurry()
	w.signal()
}

// hurry bounds the time of all writes of an ended wire. The caller must hold mu.
func (w *Wire) hurry() {
	if w.ended && w.conn != nil {
		_ = w.conn.SetWriteDeadline(time.Now().Add(lastTime))
	}
}

func (w *Wire) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// write writes the queue until the wire has ended or the host has disconnected.
func (w *Wire) write(c net.Conn) {
	var buf []byte
	for {
		data, cost, last := w.next(&buf)
		if len(data) > 0 {
			if _, err := c.Write(data); err != nil {
				w.leave()
				return
			}
		}
		if last {
			return
		}
		w.mu.Lock()
		w.bytes -= cost
		w.mu.Unlock()
	}
}

// next waits for frames and removes the first ones from the queue. It joins small frames in buf. data is valid
// until the next call. last is true for the end of the last frame, and for a wire that has no last frame.
func (w *Wire) next(buf *[]byte) (data []byte, cost int, last bool) {
	for {
		w.mu.Lock()
		if len(w.queue) > 0 {
			break
		}
		if w.ended {
			w.mu.Unlock()
			return nil, 0, true
		}
		w.mu.Unlock()
		<-w.ready
	}
	defer w.mu.Unlock()
	data = w.queue[0]
	n := 1
	if len(data) < oneWrite {
		*buf = append((*buf)[:0], data...)
		for ; n < len(w.queue) && len(*buf)+len(w.queue[n]) <= oneWrite; n++ {
			*buf = append(*buf, w.queue[n]...)
		}
		data = *buf
	}
	clear(w.queue[:n]) // a queue that never gets empty would keep their memory
	if w.queue = w.queue[n:]; len(w.queue) == 0 {
		w.queue = nil
	}
	return data, len(data) + n*frameCost, w.ended && len(w.queue) == 0
}
