package server

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cellhold"
	"cellhold/internal/server/door"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type eventsInput struct {
	SessionPath
	EventsQuery
}

// EventsQuery is how to read events. It is exported because huma looks only into exported embedded
// structs.
type EventsQuery struct {
	After       int64  `query:"after" minimum:"0" doc:"Read the events after this number; 0 is from the beginning." example:"0"`
	Limit       int    `query:"limit" minimum:"1" maximum:"5000" default:"500" doc:"The most events of a JSON page. A page may have fewer, because its bytes are bounded as well."`
	Wait        string `query:"wait" doc:"For a JSON page: how long to wait for an event if there is none yet: \"30s\", \"2m\" or plain seconds, 10 minutes at most." example:"30s"`
	Stream      string `query:"stream" enum:"sse" doc:"sse asks for server-sent events, as does the header Accept: text/event-stream."`
	Accept      string `header:"Accept" hidden:"true"`
	LastEventID string `header:"Last-Event-ID" doc:"For server-sent events: the number of the last one seen. It goes before after; browsers send it when they reconnect."`
}

// EventPage is the body of a page of events.
type EventPage struct {
	Events []cellhold.Event `json:"events" doc:"The events in order. It is empty when there are none after the given number yet."`
	Next   int64            `json:"next" doc:"Give this as after to read on."`
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
		"204": {Description: "Only for a stream: what it is about has ended and there is nothing after the given number. Browsers stop reconnecting."},
	}
}

// eventSource is where events come from: a session, or a part of it.
type eventSource struct {
	watch func(ctx context.Context, after int64) iter.Seq2[cellhold.Event, error]
	page  func(ctx context.Context, after int64, limit int) ([]cellhold.Event, error) // those that are there now
	over  func() bool                                                                 // no more will come
}

func (s *Server) events(ctx context.Context, in *eventsInput) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.readEvents(ctx, in.EventsQuery, eventSource{watch: sess.History().Watch, page: sess.History().Events,
		over: func() bool { return sess.Info().State == cellhold.SessionEnded }})
}

// readEvents answers with a page of events, or with their stream.
func (s *Server) readEvents(ctx context.Context, in EventsQuery, from eventSource) (*streamOutput, error) {
	if in.Stream == "sse" || accepts(in.Accept, "text/event-stream") {
		return s.eventStream(ctx, in, from)
	}
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	waiting, leave := s.waitFor(ctx, wait)
	defer leave()
	if wait > 0 {
		awaitEvent(waiting, from, in.After)
	}
	page, err := readPage(ctx, from, in.After, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		door.WriteJSON(w, http.StatusOK, "application/json", page)
	}}, nil
}

// awaitEvent returns when there is an event after the given one, or when ctx ends.
func awaitEvent(ctx context.Context, from eventSource, after int64) {
	for range from.watch(ctx, after) {
		return
	}
}

// readPage reads a page. The session bounds its bytes, but gives at least one event if there is one.
func readPage(ctx context.Context, from eventSource, after int64, limit int) (EventPage, error) {
	events, err := from.page(ctx, after, limit)
	if err != nil {
		return EventPage{}, err
	}
	page := EventPage{Events: append([]cellhold.Event{}, events...), Next: after}
	if n := len(events); n > 0 {
		page.Next = events[n-1].Seq
	}
	return page, nil
}

func (s *Server) eventStream(ctx context.Context, in EventsQuery, from eventSource) (*streamOutput, error) {
	after := in.After
	if in.LastEventID != "" {
		n, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || n < 0 {
			return nil, s.problem(ctx, cellhold.Errorf(cellhold.Invalid, "Last-Event-ID is not the number of an event."))
		}
		after = n
	}
	if from.over() {
		if rest, err := from.page(ctx, after, 1); err == nil && len(rest) == 0 {
			return &streamOutput{Body: func(hc huma.Context) { hc.SetStatus(http.StatusNoContent) }}, nil
		}
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		s.streamEvents(w, r, from.watch, after)
	}}, nil
}

// accepts reports whether an Accept header names a type outright.
func accepts(header, mediaType string) bool {
	return slices.ContainsFunc(strings.Split(header, ","), func(part string) bool {
		name, _, _ := strings.Cut(part, ";")
		return strings.EqualFold(strings.TrimSpace(name), mediaType)
	})
}
