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
	// silence is how long a stream may say nothing before it counts as broken: the server sends
	// a comment every 15 s, and two may be late.
	silence = 45 * time.Second
	// maxLine is the most bytes of one line of a stream: the largest event has 16 MiB.
	maxLine = 32 << 20
)

// errBye is a stream that the server closed on purpose.
var errBye = cellhold.Errorf(cellhold.Unavailable, "The server closed the stream.")

// Watch yields the session's events after that number, live, until the session has ended. When the
// connection breaks it goes on from where it was: no event is missed, none comes twice. An error
// is the last thing it yields.
func (c *Client) Watch(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[cellhold.Event, error] {
	return c.watch(ctx, sessionPath(id, "events"), after, cellhold.EventSessionEnded)
}

// watch is Watch for the events at a path, up to one of the type that is the last.
func (c *Client) watch(ctx context.Context, path string, after int64, last cellhold.EventType) iter.Seq2[cellhold.Event, error] {
	return func(yield func(cellhold.Event, error) bool) {
		w := &watch{client: c, path: path, after: after, last: last, yield: yield}
		err := c.retry(ctx, func(alive func()) error { return w.read(ctx, alive) })
		if err != nil && !w.stopped {
			yield(cellhold.Event{}, err)
		}
	}
}

// watch is one use of Watch.
type watch struct {
	client  *Client
	path    string
	after   int64
	last    cellhold.EventType
	yield   func(cellhold.Event, error) bool
	stopped bool // the reader wants no more
}

// read reads one connection until it ends. It returns nil when the watch is over.
func (w *watch) read(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A connection can die without a word. Silence ends it here.
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	res, err := w.client.send(ctx, http.MethodGet, w.path+fmt.Sprintf("?after=%d", w.after), nil,
		http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return w.broken(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil // it has ended, and all of it has been read
	}
	lines := bufio.NewReaderSize(res.Body, 64<<10)
	for {
		note, err := readNote(lines, func() { quiet.Reset(silence) })
		if err != nil {
			return w.broken(ctx, err)
		}
		alive()
		if done, err := w.take(note); done || err != nil {
			return err
		}
	}
}

// broken judges the end of a connection: what another try may mend is Unavailable.
func (w *watch) broken(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e
	}
	return cellhold.Wrap(cellhold.Unavailable, errors.Join(err, ctx.Err()), "The connection to the server broke.")
}

// take gives an event to the reader, and reports whether it was the last.
func (w *watch) take(n note) (done bool, err error) {
	if n.event == "bye" {
		return false, errBye
	}
	var e cellhold.Event
	if err := json.Unmarshal(n.data, &e); err != nil {
		return false, cellhold.Wrap(cellhold.Internal, err, "The server sent an event that cannot be read.")
	}
	if e.Seq <= w.after {
		return false, nil
	}
	w.after = e.Seq
	w.stopped = !w.yield(e, nil)
	return w.stopped || e.Type == w.last, nil
}

// note is one server-sent event.
type note struct {
	event string
	data  []byte
}

// readNote reads up to the empty line that ends an event with data. heard is called for each line,
// comments included.
func readNote(r *bufio.Reader, heard func()) (note, error) {
	var n note
	for {
		line, err := readLine(r)
		if err != nil {
			return note{}, err
		}
		heard()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && n.data != nil:
			return n, nil
		case len(line) == 0:
			n = note{}
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

// readLine reads a line without its end, with a bound.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, cellhold.Errorf(cellhold.Internal, "The server sent a line of more than %d bytes.", maxLine)
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
