package jupyter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"cellhold"
	"cellhold/internal/server/jupyter/framing"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

const (
	// maxMessage is the maximum size in bytes of a client's message, with the table of the offsets of its parts.
	maxMessage = terms.MaxFrame + 64<<10
	// small is the size in bytes below which a received message needs no share of the memory for arriving messages. A
	// message to the client of at most this size is written at once.
	small = 64 << 10
	// piece is the size in bytes of the pieces in which the server reads a larger message.
	piece = 256 << 10
	// A large message must arrive within slowStart, plus its size divided by slowRate. Otherwise a slow client could
	// hold shared memory.
	slowStart = 30 * time.Second
	slowRate  = 128 << 10 // bytes per second
	// writeTime limits the time to write a message to a client. For a large message, it limits the time of each part.
	writeTime = 30 * time.Second
	// pingTime is the time between two pings, and pongTime the time for the answer.
	pingTime = 30 * time.Second
	pongTime = time.Minute
	// closeTime limits the close handshake.
	closeTime = 5 * time.Second
	// maxReason is the maximum size in bytes of the text in a WebSocket close frame (RFC 6455, section 5.5).
	maxReason = 123
)

// The reasons for the end of a connection.
var (
	errEnded    = errors.New("the kernel has ended")
	errTooLarge = errors.New("too large for the kernel")
	errDamaged  = errors.New("damaged message")
	errSilent   = errors.New("the client does not answer pings")
	errNoRoom   = errors.New("no memory for a large message")
)

// kernelWire is a connection of one Jupyter client to one kernel. session.Wire describes the methods.
type kernelWire interface {
	Send(ctx context.Context, f session.Frame) error
	Receive(ctx context.Context) (session.Frame, error)
	Written()
	Detach()
}

// channel passes messages between a client and a kernel.
type channel struct {
	socket   *websocket.Conn
	conn     net.Conn // of the socket
	wire     kernelWire
	log      *slog.Logger
	v1       bool
	gateway  bool   // the client is a gateway client of jupyter_server, which reads only text messages
	noted    []byte // for gateway clients: parent header of the last note about dropped buffers; only send uses noted
	caller   string
	arrivals *arrivals

	moved atomic.Int64 // changes when a transfer of a message begins or ends; ping compares it
	busy  atomic.Int64 // number of transfers in progress; ping sends no pings while it is above 0
}

// serve passes messages until the client or the kernel ends, or until ctx ends. Then it closes the connection with the
// reason.
func (c *channel) serve(ctx context.Context) {
	c.socket.SetReadLimit(maxMessage)
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// When the context of a read or a write ends, the library closes the connection at once. So reads and writes use
	// quiet, which ends only after the close handshake.
	quiet, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	for _, f := range []func(run, quiet context.Context) error{c.receive, c.send, c.ping} {
		wg.Go(func() { cancel(c.guarded(f, run, quiet)) })
	}
	<-run.Done()
	code, why := closing(ctx, context.Cause(run))
	c.log.Debug("connection of a Jupyter client ends", "code", int(code), "err", context.Cause(run))
	_ = c.conn.SetDeadline(time.Now().Add(closeTime)) // otherwise Close could wait forever for the end of a frame
	_ = c.socket.Close(code, why)                     // fails if the client left
	stop()
	wg.Wait()
	c.wire.Detach()
}

// guarded runs f. A panic in f ends the connection. The server continues.
func (c *channel) guarded(f func(run, quiet context.Context) error, run, quiet context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("internal error")
		}
	}()
	return f(run, quiet)
}

// codeOf returns the code and the text with which a connection ends after an error.
func codeOf(err error) (websocket.StatusCode, string) {
	switch {
	case errors.Is(err, errEnded):
		return websocket.StatusInternalError, "The kernel has ended."
	case errors.Is(err, errDamaged):
		return websocket.StatusInvalidFramePayloadData, "The message is damaged."
	case errors.Is(err, errTooLarge):
		return websocket.StatusMessageTooBig, "The message is too large for the kernel."
	case errors.Is(err, errNoRoom):
		return websocket.StatusTryAgainLater, "The server has no memory for a large message now. Connect again."
	}
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		why := e.Message
		if len(why) > maxReason {
			why = strings.ToValidUTF8(why[:maxReason-len("…")], "") + "…"
		}
		switch e.Kind {
		case cellhold.Exhausted:
			return websocket.StatusTryAgainLater, why
		case cellhold.Invalid, cellhold.Conflict:
			return websocket.StatusPolicyViolation, why
		}
	}
	return websocket.StatusInternalError, "The connection to the kernel ended. Connect again."
}

// receive passes the client's messages to the kernel.
func (c *channel) receive(run, quiet context.Context) error {
	for {
		if err := c.receiveOne(run, quiet); err != nil {
			return err
		}
	}
}

func (c *channel) receiveOne(run, quiet context.Context) error {
	ctx, cancel := context.WithCancel(quiet)
	defer cancel()
	kind, body, err := c.socket.Reader(ctx)
	if err != nil {
		return err
	}
	message, large, err := c.read(ctx, run, cancel, body)
	if err != nil {
		return err
	}
	defer large.end()
	f, err := c.decode(kind, message)
	switch {
	case err != nil:
		return errors.Join(errDamaged, err)
	case f.Size() > terms.MaxFrame:
		return errTooLarge
	}
	switch f.Channel {
	case "shell", "control", "stdin":
	default:
		return nil // Jupyter Server ignores other channels
	}
	defer c.begin()()
	err = c.wire.Send(run, session.Frame(f))
	if cellhold.KindOf(err) == cellhold.Conflict { // a repeated message: the first copy gets the reply
		return nil
	}
	return err
}

// read reads a message. A large message takes shared memory as its bytes arrive. For a small message, the arrival is
// nil.
func (c *channel) read(ctx, run context.Context, cancel context.CancelFunc, body io.Reader) ([]byte, *arrival, error) {
	message, err := io.ReadAll(io.LimitReader(body, small))
	if err != nil || len(message) < small {
		return message, nil, err
	}
	defer c.begin()()
	large, err := c.arrivals.begin(run, c.caller)
	if err != nil {
		return nil, nil, err
	}
	if message, err = large.read(run, message, body, cancel); err != nil {
		large.end()
		return nil, nil, err
	}
	return message, large, nil
}

func (c *channel) decode(kind websocket.MessageType, message []byte) (framing.Frame, error) {
	switch {
	case c.gateway && bytes.HasPrefix(message, []byte{0}): // a binary message, sent as text
		return framing.DecodeBinary(message)
	case kind == websocket.MessageText:
		return framing.DecodeText(message)
	case c.v1:
		return framing.DecodeV1(message)
	}
	return framing.DecodeBinary(message)
}

// send passes the kernel's messages to the client.
func (c *channel) send(run, quiet context.Context) error {
	for {
		f, err := c.wire.Receive(run)
		if errors.Is(err, io.EOF) {
			return errEnded
		}
		if err != nil {
			return err
		}
		pass := c.sendOne
		if c.gateway {
			pass = c.sendText
		}
		if err := pass(quiet, framing.Frame(f)); err != nil {
			return err // the next connection of the client gets the message
		}
		c.wire.Written()
	}
}

func (c *channel) sendOne(quiet context.Context, f framing.Frame) error {
	kind, pieces := websocket.MessageBinary, [][]byte(nil)
	if c.v1 {
		pieces = framing.EncodeV1(f)
	} else {
		legacy, isBinary, err := framing.EncodeLegacy(f)
		if err != nil { // hostile code can send any header; the client cannot use the message
			c.log.Debug("dropping a message of a kernel", "err", err)
			return nil
		}
		if pieces = legacy; !isBinary {
			kind = websocket.MessageText
		}
	}
	defer c.begin()()
	ctx, cancel := context.WithCancel(quiet)
	defer cancel()
	late := time.AfterFunc(writeTime, cancel)
	defer late.Stop()
	if f.Size() <= small {
		return c.socket.Write(ctx, kind, bytes.Join(pieces, nil))
	}
	return c.writeLarge(ctx, kind, pieces, func() { late.Reset(writeTime) })
}

// writeLarge writes a message in parts, and makes no second copy. The client's queue holds the first copy and counts
// its memory. Between the parts, the library can answer the client's pings. writeLarge calls progress before each part,
// so that a slow client has time for each part. A disconnected client would connect again, and get the same message
// from its beginning.
func (c *channel) writeLarge(ctx context.Context, kind websocket.MessageType, pieces [][]byte, progress func()) error {
	message, err := c.socket.Writer(ctx, kind)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(message, small) // joins small pieces
	for _, p := range pieces {
		for part := range slices.Chunk(p, small) {
			progress()
			_, _ = w.Write(part) // Flush returns the error
		}
	}
	progress()
	if err := w.Flush(); err != nil {
		return err
	}
	return message.Close()
}

// begin notes that the transfer of a message begins. The caller must call end when the transfer ends.
func (c *channel) begin() (end func()) {
	c.moved.Add(1)
	c.busy.Add(1)
	return func() {
		c.busy.Add(-1)
		c.moved.Add(1)
	}
}

// ping ends the connection of a client that disappeared without closing it. The library reads the answer to a ping only
// while receive reads, and only between messages. So ping ignores a failure if a message was in transfer during the
// wait.
func (c *channel) ping(run, quiet context.Context) error {
	t := time.NewTicker(pingTime)
	defer t.Stop()
	for {
		select {
		case <-run.Done():
			return nil
		case <-t.C:
		}
		before := c.moved.Load()
		if c.busy.Load() > 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(quiet, pongTime)
		err := c.socket.Ping(ctx)
		cancel()
		if err != nil && c.moved.Load() == before && run.Err() == nil {
			return errors.Join(errSilent, err)
		}
	}
}
