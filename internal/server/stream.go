package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"cellhold"
	"cellhold/internal/outputs"
	"cellhold/internal/server/exchange"
)

const (
	// keepAlive is the time between comments in a quiet stream. Proxies close a connection that is silent for
	// a minute or half a minute.
	keepAlive = 15 * time.Second
	// retryTime is the time that a browser waits before it reconnects, in milliseconds.
	retryTime = 1000
)

// Bye is the content of the last event of a stream that ends early: before the session, the command or the watch of
// a directory.
type Bye struct {
	After int64         `json:"after" doc:"Number of the last event that was sent. Continue after it."`
	Kind  cellhold.Kind `json:"kind" enum:"unavailable,internal" doc:"unavailable: the server shuts down. internal: the server failed."`
}

// streamEvents writes server-sent events until there will be no more events, the reader leaves or the server
// shuts down. It holds one event at a time. A slow reader slows only its own reading of the journal. A reader
// that reads nothing for writeTime is disconnected.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request, watch func(context.Context, int64) iter.Seq2[cellhold.Event, error], after int64) {
	ctx, leave := s.waiters.Enter(r.Context())
	defer leave()
	out, ctx := newEventWriter(ctx, w)
	defer out.Close()
	if out.open() != nil {
		return
	}
	out.KeepAlive(keepAlive, out.comment)
	for e, err := range watch(ctx, after) {
		if err != nil {
			s.closeStream(ctx, r, out, after, err)
			return
		}
		if out.event(e) != nil {
			return
		}
		after = e.Seq
	}
	if errors.Is(context.Cause(ctx), exchange.ErrAway) {
		s.closeStream(ctx, r, out, after, exchange.ErrAway)
	}
}

// closeStream tells a connected reader why the stream ends and where to continue.
func (s *Server) closeStream(ctx context.Context, r *http.Request, out *eventWriter, after int64, err error) {
	if r.Context().Err() != nil {
		return
	}
	bye := Bye{After: after, Kind: cellhold.Unavailable}
	if !errors.Is(context.Cause(ctx), exchange.ErrAway) {
		if kind := s.problem(ctx, err).Kind; kind != cellhold.Unavailable {
			bye.Kind = cellhold.Internal
		}
	}
	text, err := json.Marshal(bye)
	if err == nil {
		_ = out.write("event: bye\ndata: %s\n\n", text)
	}
}

// eventWriter writes server-sent events.
type eventWriter struct {
	*exchange.Stream
	w http.ResponseWriter
}

// newEventWriter is like exchange.NewStream.
func newEventWriter(ctx context.Context, w http.ResponseWriter) (*eventWriter, context.Context) {
	stream, ctx := exchange.NewStream(ctx, w)
	return &eventWriter{stream, w}, ctx
}

// open sends the header, so that the reader knows at once that it is connected.
func (o *eventWriter) open() error {
	h := o.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would buffer the events
	return o.write("retry: %d\n\n", retryTime)
}

// event sends one event. Content cannot end the event early and forge the next one: WriteEvent writes one line, and
// the type is a plain word.
func (o *eventWriter) event(e cellhold.Event) error {
	return o.Send(len(e.Content), func() error {
		b := bufio.NewWriter(o.w)
		fmt.Fprintf(b, "id: %d\nevent: %s\ndata: ", e.Seq, plainWord(string(e.Type)))
		if err := outputs.WriteEvent(b, e); err != nil {
			return fmt.Errorf("event %d: %w", e.Seq, err)
		}
		fmt.Fprint(b, "\n\n")
		return b.Flush()
	})
}

// comment writes a comment, which is a sign of life.
func (o *eventWriter) comment() error {
	_, err := fmt.Fprint(o.w, ": still here\n\n")
	return err
}

func (o *eventWriter) write(format string, args ...any) error {
	return o.Send(0, func() error {
		_, err := fmt.Fprintf(o.w, format, args...)
		return err
	})
}

// plainWord returns s if it has only lower-case letters, digits and underscores, otherwise "message".
func plainWord(s string) string {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return "message"
		}
	}
	return s
}
