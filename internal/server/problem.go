package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"cellhold"

	"github.com/danielgtaylor/huma/v2"
)

// statusOf is the one table from kind to HTTP status.
var statusOf = map[cellhold.Kind]int{
	cellhold.Invalid:     http.StatusUnprocessableEntity,
	cellhold.NotFound:    http.StatusNotFound,
	cellhold.Conflict:    http.StatusConflict,
	cellhold.Denied:      http.StatusForbidden,
	cellhold.Exhausted:   http.StatusTooManyRequests,
	cellhold.Unavailable: http.StatusServiceUnavailable,
	cellhold.Unsupported: http.StatusNotImplemented,
	cellhold.Internal:    http.StatusInternalServerError,
}

// Problem is the body of every error: RFC 9457, with the kind and the id of the request.
type Problem struct {
	Title     string         `json:"title" doc:"The status in words." example:"Not Found"`
	Status    int            `json:"status" doc:"The HTTP status." example:"404"`
	Kind      cellhold.Kind  `json:"kind" enum:"invalid,not_found,conflict,denied,exhausted,unavailable,unsupported,internal" doc:"What sort of error it is; decide by this." example:"not_found"`
	Detail    string         `json:"detail" doc:"One sentence for a person." example:"There is no such session."`
	RequestID string         `json:"request_id" doc:"Names this request in the server's log." example:"rgv2q7m4kx9w3tz6hb5ndcjpfa"`
	Errors    []ProblemField `json:"errors,omitempty" doc:"What is wrong with which part of the request."`
}

// ProblemField is one thing that is wrong with a request.
type ProblemField struct {
	Location string `json:"location,omitempty" doc:"Which part of the request." example:"body.timeout"`
	Message  string `json:"message" doc:"What is wrong with it." example:"expected number"`
}

// Error makes a Problem an error that handlers of /v1 may return.
func (p *Problem) Error() string { return p.Detail }

// GetStatus tells huma the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells huma the media type.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func newProblem(ctx context.Context, status int, kind cellhold.Kind, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Kind: kind, Detail: detail, RequestID: callOf(ctx).id}
}

// problem turns an error into what its caller may see, and tells the log the rest.
func (s *Server) problem(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	kind, detail := cellhold.Internal, "The server made a mistake; its log has more under the id of this request."
	if e, ok := errors.AsType[*cellhold.Error](err); ok && statusOf[e.Kind] != 0 {
		kind = e.Kind
		if kind != cellhold.Internal {
			detail = e.Message
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		kind, detail = cellhold.Unavailable, "It took too long. It may still come about; look before you try again."
	}
	level := slog.LevelDebug
	if kind == cellhold.Internal && ctx.Err() == nil { // a caller that left is no mistake of ours
		level = slog.LevelError
	}
	call := callOf(ctx)
	s.log.Log(ctx, level, "request refused", "request", call.id, "caller", call.caller, "kind", kind, "error", err)
	return newProblem(ctx, statusOf[kind], kind, detail)
}

// writeProblem answers with a problem from where huma does not.
func writeProblem(w http.ResponseWriter, p *Problem) {
	writeJSON(w, p.Status, problemType, p)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // fails only when the caller has gone
}

// ownProblems turns the errors that huma itself finds into ours. It leaves out the offending
// values, which may be megabytes.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := newProblem(ctx.Context(), m.Status, kindOf(m.Status), sentence(m))
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, ProblemField{Location: e.Location, Message: e.Message})
	}
	return p, nil
}

func sentence(m *huma.ErrorModel) string {
	switch {
	case m.Status == http.StatusRequestEntityTooLarge:
		return tooLarge
	case m.Status == http.StatusUnsupportedMediaType:
		return "The body must be application/json."
	case m.Status == http.StatusBadRequest && len(m.Errors) > 0:
		return "The body is not valid JSON: " + m.Errors[0].Message + "."
	case len(m.Errors) > 0:
		return "The request is not valid: " + m.Errors[0].Location + ": " + m.Errors[0].Message + "."
	case m.Detail == "":
		return http.StatusText(m.Status) + "."
	}
	return strings.ToUpper(m.Detail[:1]) + m.Detail[1:] + "."
}

// kindOf gives the kind that fits a status which HTTP itself, not one of our kinds, caused.
func kindOf(status int) cellhold.Kind {
	for kind, s := range statusOf {
		if s == status {
			return kind
		}
	}
	if status < http.StatusInternalServerError {
		return cellhold.Invalid
	}
	return cellhold.Internal
}
