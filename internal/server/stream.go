package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/server/door"
)

const (
	// keepAlive is how often a quiet stream says that it lives: proxies close what is silent for a
	// minute or even half of one.
	keepAlive = 15 * time.Second
	// retryTime is how long a browser waits before it reconnects, in milliseconds.
	retryTime = 1000
)

// Bye is the content of the note that closes a stream before its session has ended.
type Bye struct {
	After int64         `json:"after" doc:"The last event that was sent; read on after it."`
	Kind  cellhold.Kind `json:"kind" enum:"unavailable,internal" doc:"unavailable when the server shuts down, internal when it failed."`
}

// streamEvents writes events as server-sent events until there will be no more, the
// reader has gone or the server shuts down. It holds one event at a time: a slow reader slows
// only its own reading of the journal, and one that takes nothing for writeTime is dropped.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request, watch func(context.Context, int64) iter.Seq2[cellhold.Event, error], after int64) {
	ctx, leave := s.waiters.Enter(r.Context())
	ctx, cancel := context.WithCancel(ctx)
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	var beat sync.WaitGroup
	defer func() { cancel(); leave(); beat.Wait() }()

	if out.open() != nil {
		return
	}
	beat.Go(func() {
		if out.beat(ctx, keepAlive) != nil {
			cancel() // nobody reads: stop watching
		}
	})
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
	if errors.Is(context.Cause(ctx), door.ErrAway) {
		s.closeStream(ctx, r, out, after, door.ErrAway)
	}
}

// closeStream tells a reader that is still there why the stream ends and where to read on.
func (s *Server) closeStream(ctx context.Context, r *http.Request, out *eventWriter, after int64, err error) {
	if r.Context().Err() != nil {
		return
	}
	bye := Bye{After: after, Kind: cellhold.Unavailable}
	if !errors.Is(context.Cause(ctx), door.ErrAway) {
		if kind := s.problem(ctx, err).Kind; kind != cellhold.Unavailable {
			bye.Kind = cellhold.Internal
		}
	}
	text, err := json.Marshal(bye)
	if err == nil {
		_ = out.write("event: bye\ndata: %s\n\n", text)
	}
}

// eventWriter writes server-sent events. Two goroutines write: the watcher's events and the beat.
type eventWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
}

// open sends the header, so that the reader knows at once that it is connected.
func (o *eventWriter) open() error {
	h := o.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	return o.write("retry: %d\n\n", retryTime)
}

// event sends one event. Its JSON has no raw line breaks, because Marshal compacts it, and its
// type is one of ours, so that no content can end the event early and forge the next one.
func (o *eventWriter) event(e cellhold.Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	return o.write("id: %d\nevent: %s\ndata: %s\n\n", e.Seq, plainWord(string(e.Type)), text)
}

// beat sends a comment every so often until ctx ends.
func (o *eventWriter) beat(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := o.write(": still here\n\n"); err != nil {
				return err
			}
		}
	}
}

func (o *eventWriter) write(format string, args ...any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := fmt.Fprintf(o.w, format, args...); err != nil {
		return err
	}
	return o.control.Flush()
}

// plainWord returns s if it is lower-case letters, digits and underscores, "message" otherwise.
func plainWord(s string) string {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return "message"
		}
	}
	return s
}
