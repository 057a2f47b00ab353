package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"cellhold"
)

const (
	// silence is the time without data after which a stream counts as broken. The server sends a comment
	// every 15 s, and two can be late.
	silence = 45 * time.Second
	// maxLine is the maximum number of bytes of one line of a stream. The largest event has 16 MiB.
	maxLine = 32 << 20
)

// errBye means that the server ended the stream with a bye event.
var errBye = cellhold.Errorf(cellhold.Unavailable, "The server closed the stream.")

// Watch yields the session's events with numbers above after, live, until the session ends. When the connection
// breaks, Watch continues after the last event: it omits no event and repeats none. An error is the last
// element.
func (c *Client) Watch(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[cellhold.Event, error] {
	return c.watch(ctx, sessionPath(id, "events"), after, cellhold.EventSessionEnded)
}

// watch yields the events at a path with numbers above after, up to the first event of type last.
func (c *Client) watch(ctx context.Context, path string, after int64, last cellhold.EventType) iter.Seq2[cellhold.Event, error] {
	return func(yield func(cellhold.Event, error) bool) {
		w := &watch{client: c, path: path, after: after, last: last, yield: yield}
		err := c.retry(ctx, func(alive func()) error { return w.read(ctx, alive) })
		if err != nil && !w.stopped {
			yield(cellhold.Event{}, err)
		}
	}
}

// watch is the state of one watch.
type watch struct {
	client  *Client
	path    string
	after   int64
	last    cellhold.EventType
	yield   func(cellhold.Event, error) bool
	stopped bool // the caller's loop ended
}

// read reads one connection until it ends. It returns nil when the watch is complete.
func (w *watch) read(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A dead connection can be silent. The timer ends it.
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	res, err := w.client.send(ctx, http.MethodGet, w.path+fmt.Sprintf("?after=%d", w.after), nil,
		http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return broken(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil // the session or command has ended, and all its events were read
	}
	lines := bufio.NewReaderSize(res.Body, 64<<10)
	for {
		n, err := readEvent(lines, func() { quiet.Reset(silence) })
		if err != nil {
			return broken(ctx, err)
		}
		alive()
		if done, err := w.take(n); done || err != nil {
			return err
		}
	}
}

// broken converts the end of a connection to an error. It is Unavailable if a retry can succeed.
func broken(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e
	}
	return cellhold.Wrap(cellhold.Unavailable, errors.Join(err, ctx.Err()), "The connection to the server broke. Retry.")
}

// take passes an event to the caller's loop, and reports whether the watch is complete.
func (w *watch) take(n sseEvent) (done bool, err error) {
	if n.event == "bye" {
		return false, errBye
	}
	var e cellhold.Event
	if err := json.Unmarshal(n.data, &e); err != nil {
		return false, cellhold.Wrap(cellhold.Internal, err, "The server sent an event that is not valid JSON.")
	}
	if e.Seq <= w.after {
		return false, nil
	}
	w.after = e.Seq
	w.stopped = !w.yield(e, nil)
	return w.stopped || e.Type == w.last, nil
}

// sseEvent is one server-sent event.
type sseEvent struct {
	event string
	data  []byte
}

// readEvent reads up to the empty line that ends an event with data. It calls heard for each line, including
// comments.
func readEvent(r *bufio.Reader, heard func()) (sseEvent, error) {
	var n sseEvent
	for {
		line, err := readLine(r)
		if err != nil {
			return sseEvent{}, err
		}
		heard()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && n.data != nil:
			return n, nil
		case len(line) == 0:
			n = sseEvent{}
		case string(name) == "event":
			n.event = string(value)
		case string(name) == "data":
			if n.data != nil {
				n.data = append(n.data, '\n')
			}
			n.data = append(n.data, value...)
		}
	}
}

// readLine reads a line without its end. It limits the length to maxLine.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, cellhold.Errorf(cellhold.Internal, "The server sent a line above the limit of %d bytes.", maxLine)
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}
