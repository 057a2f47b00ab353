package door

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"cellhold"
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
func (p *Problem) ContentType(string) string { return ProblemType }

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// NewProblem returns a problem of the request of this context.
func NewProblem(ctx context.Context, status int, kind cellhold.Kind, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Kind: kind, Detail: detail, RequestID: callOf(ctx).id}
}

// ProblemOf turns an error into what its caller may see, and tells the log the rest.
func ProblemOf(ctx context.Context, log *slog.Logger, err error) *Problem {
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
	log.Log(ctx, level, "request refused", "request", call.id, "caller", call.caller, "kind", kind, "error", err)
	return NewProblem(ctx, statusOf[kind], kind, detail)
}

// WriteProblem answers with a problem from where huma does not.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	WriteJSON(w, p.Status, ProblemType, p)
}

// WriteJSON answers with a body.
func WriteJSON(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // fails only when the caller has gone
}

// KindOf gives the kind that fits a status which HTTP itself, not one of our kinds, caused.
func KindOf(status int) cellhold.Kind {
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
