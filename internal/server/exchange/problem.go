package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"cellhold"
)

// statusOf maps the kinds of error to HTTP statuses.
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

// Problem is the body of every error: RFC 9457, with the kind and the request id.
type Problem struct {
	Title     string         `json:"title" doc:"Text of the HTTP status." example:"Not Found"`
	Status    int            `json:"status" doc:"HTTP status." example:"404"`
	Kind      cellhold.Kind  `json:"kind" enum:"invalid,not_found,conflict,denied,exhausted,unavailable,unsupported,internal" doc:"Kind of the error. Programs should decide by it." example:"not_found"`
	Detail    string         `json:"detail" doc:"Message for people." example:"Session not found."`
	RequestID string         `json:"request_id" doc:"Id of this request in the server's log." example:"rgv2q7m4kx9w3tz6hb5ndcjpfa"`
	Errors    []ProblemField `json:"errors,omitempty" doc:"Invalid parts of the request."`
}

// ProblemField is one invalid part of a request.
type ProblemField struct {
	Location string `json:"location,omitempty" doc:"Part of the request." example:"body.timeout"`
	Message  string `json:"message" doc:"Error in this part." example:"expected number"`
}

// Error makes Problem an error that handlers of /v1 can return.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the status to huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type to huma.
func (p *Problem) ContentType(string) string { return ProblemType }

// InternalDetail is the message of an internal error. The log has the details.
const InternalDetail = "Internal error. The server's log has the details under this request id."

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// NewProblem returns a problem for the request of this context.
func NewProblem(ctx context.Context, status int, kind cellhold.Kind, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Kind: kind, Detail: detail, RequestID: callOf(ctx).id}
}

// ProblemOf converts an error to the answer that its caller can see, and logs the details.
func ProblemOf(ctx context.Context, log *slog.Logger, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	kind, detail := cellhold.Internal, InternalDetail
	if e, ok := errors.AsType[*cellhold.Error](err); ok && statusOf[e.Kind] != 0 {
		kind = e.Kind
		if kind != cellhold.Internal {
			detail = e.Message
		}
	} else if errors.Is(err, ErrAway) || errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), ErrAway) {
		kind, detail = cellhold.Unavailable, "The server is shutting down. Send the request again when it is back."
	} else if errors.Is(err, context.DeadlineExceeded) {
		kind, detail = cellhold.Unavailable, "The operation timed out and can still complete. Check before you retry."
	}
	level := slog.LevelDebug
	if kind == cellhold.Internal && ctx.Err() == nil { // a caller that left is not an error of the server
		level = slog.LevelError
	}
	call := callOf(ctx)
	log.Log(ctx, level, "request refused", "request", call.id, "caller", call.caller, "kind", kind, "error", err)
	return NewProblem(ctx, statusOf[kind], kind, detail)
}

// WriteProblem answers with a problem outside huma.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	WriteJSON(w, p.Status, ProblemType, p)
}

// WriteJSON answers with a JSON body.
func WriteJSON(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // fails only if the caller left
}

// KindOf returns the kind that fits an HTTP status.
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
