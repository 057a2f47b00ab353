package server

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cellhold"
	"cellhold/internal/outputs"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type eventsInput struct {
	SessionPath
	EventsQuery
}

// EventsQuery says which events to read, and how. It is exported because huma reads only exported embedded
// structs.
type EventsQuery struct {
	After       int64  `query:"after" minimum:"0" doc:"Read the events after this number. 0 means from the beginning." example:"0"`
	Limit       int    `query:"limit" minimum:"1" maximum:"5000" default:"500" doc:"Maximum number of events in a JSON page. A page can have fewer, because its size is limited too."`
	Wait        string `query:"wait" doc:"For a JSON page: maximum time to wait for an event if there is none yet. Use \"30s\", \"2m\" or seconds, at most 10 minutes." example:"30s"`
	Stream      string `query:"stream" enum:"sse" doc:"sse requests server-sent events, like the header Accept: text/event-stream."`
	Accept      string `header:"Accept" hidden:"true"`
	LastEventID string `header:"Last-Event-ID" doc:"For server-sent events: number of the last event that the reader saw. It overrides after. Browsers send it when they reconnect."`
}

// EventPage is one page of events.
type EventPage struct {
	Events []cellhold.Event `json:"events" doc:"Events in order. Empty if there are none after the given number yet."`
	Next   int64            `json:"next" doc:"Send this as after to read the next page."`
}

func (s *Server) eventRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "read-events", Method: http.MethodGet, Path: "/v1/sessions/{id}/events", Tags: []string{tagEvents},
		Summary:     "Read events after N",
		Description: eventsText,
		Responses:   eventResponses(api),
	}, s.events)
}

func eventResponses(api huma.API) map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "A page, or the stream", Content: map[string]*huma.MediaType{
			"application/json":  {Schema: schemaOf(api, EventPage{})},
			"text/event-stream": {Schema: &huma.Schema{Type: "string"}},
		}},
		"204": {Description: "Only for a stream: the session or command has ended, and there are no events after the given number. Browsers stop reconnecting."},
	}
}

// eventSource has the events of a session or of one command.
type eventSource struct {
	watch func(ctx context.Context, after int64) iter.Seq2[cellhold.Event, error]
	page  func(ctx context.Context, after int64, limit int) iter.Seq2[cellhold.Event, error] // the events that exist now
	over  func() bool                                                                        // reports whether no more events will come
}

func (s *Server) events(ctx context.Context, in *eventsInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.readEvents(ctx, in.EventsQuery, eventSource{watch: sess.History().Watch, page: sess.History().Events,
		over: func() bool { return sess.Info().State == cellhold.SessionEnded }})
}

// readEvents answers with a page or a stream of events.
func (s *Server) readEvents(ctx context.Context, in EventsQuery, from eventSource) (*streamOutput, error) {
	if in.Stream == "sse" || accepts(in.Accept, "text/event-stream") {
		return s.eventStream(ctx, in, from)
	}
	wait, err := exchange.ParseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	waiting, leave := s.waitFor(ctx, wait)
	defer leave()
	if wait > 0 {
		awaitEvent(waiting, from, in.After)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		s.writePage(w, r, from.page(r.Context(), in.After, in.Limit), in.After)
	}}, nil
}

// awaitEvent waits for an event after the given number. It also returns when the session or command ends, or ctx ends.
func awaitEvent(ctx context.Context, from eventSource, after int64) {
	for range from.watch(ctx, after) {
		return
	}
}

// writePage writes an EventPage one event at a time, because an event can be as large as 16 MiB. The history limits the
// size of a page. If an event exists, a page has at least one event, even a larger one.
func (s *Server) writePage(w http.ResponseWriter, r *http.Request, events iter.Seq2[cellhold.Event, error], next int64) {
	out := newListWriter(w, `{"events":[`)
	defer out.end()
	for e, err := range events {
		if err != nil {
			s.failStream(w, r, err, out.empty())
			return
		}
		out.item(func(w io.Writer) error { return outputs.WriteEvent(w, e) })
		next = e.Seq
	}
	out.finish(fmt.Sprintf(`],"next":%d}`, next))
}

func (s *Server) eventStream(ctx context.Context, in EventsQuery, from eventSource) (*streamOutput, error) {
	after := in.After
	if in.LastEventID != "" {
		n, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || n < 0 {
			return nil, s.problem(ctx, cellhold.Errorf(cellhold.Invalid, "Invalid Last-Event-ID %.40q: use the number of an event.", in.LastEventID))
		}
		after = n
	}
	if from.over() {
		rest := false
		for range from.page(ctx, after, 1) { // an event remains, or the read failed; the stream reports the error
			rest = true
		}
		if !rest {
			return &streamOutput{Body: func(hc huma.Context) { hc.SetStatus(http.StatusNoContent) }}, nil
		}
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		s.streamEvents(w, r, from.watch, after)
	}}, nil
}

// accepts reports whether an Accept header names a type exactly, without a wildcard.
func accepts(header, mediaType string) bool {
	return slices.ContainsFunc(strings.Split(header, ","), func(part string) bool {
		name, _, _ := strings.Cut(part, ";")
		return strings.EqualFold(strings.TrimSpace(name), mediaType)
	})
}
