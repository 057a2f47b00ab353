package jupyter

import (
	"cmp"
	"errors"
	"net/http"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/jupyter/contents"
)

// statusOf maps the kinds of error to the statuses of Jupyter Server.
var statusOf = map[cellhold.Kind]int{
	cellhold.Invalid:     http.StatusBadRequest,
	cellhold.NotFound:    http.StatusNotFound,
	cellhold.Conflict:    http.StatusConflict,
	cellhold.Denied:      http.StatusForbidden,
	cellhold.Exhausted:   http.StatusTooManyRequests,
	cellhold.Unavailable: http.StatusServiceUnavailable,
	cellhold.Unsupported: http.StatusNotImplemented,
	cellhold.Internal:    http.StatusInternalServerError,
}

// problem is the body of an error.
type problem struct {
	Message string  `json:"message"`
	Reason  *string `json:"reason"` // null, unless a program needs more than the status
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, status int, message string) {
	write(w, status, problem{Message: message})
}

// fail answers with an error, and logs the details.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := exchange.ProblemOf(r.Context(), s.Logger, err)
	status, body := statusOf[p.Kind], problem{Message: p.Detail}
	if f, ok := errors.AsType[*contents.Fault](err); ok {
		status = cmp.Or(f.Status, status)
		if f.Reason != "" {
			body.Reason = &f.Reason
		}
	}
	write(w, status, body)
}
