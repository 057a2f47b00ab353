package e2b

import (
	"net/http"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
)

// statusOf maps the kinds of error to the statuses of E2B.
var statusOf = map[cellhold.Kind]int{
	cellhold.Invalid:     http.StatusBadRequest,
	cellhold.NotFound:    http.StatusNotFound,
	cellhold.Conflict:    http.StatusConflict,
	cellhold.Denied:      http.StatusForbidden,
	cellhold.Exhausted:   http.StatusTooManyRequests,
	cellhold.Unavailable: http.StatusServiceUnavailable,
	cellhold.Unsupported: http.StatusBadRequest,
	cellhold.Internal:    http.StatusInternalServerError,
}

// fail answers with an error, and logs the details. JavaScript reads the code in the body, Python the status.
func (d *door) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := exchange.ProblemOf(r.Context(), d.Logger, err)
	if p.Kind == cellhold.Exhausted {
		w.Header().Set("Should-Retry", "false") // a limit does not change while the SDK waits
	}
	access.WriteRefused(w, statusOf[p.Kind], p.Detail)
}

// failText answers a request to the code server with an error. Its clients show the body as it is.
func (d *door) failText(w http.ResponseWriter, r *http.Request, err error) {
	p := exchange.ProblemOf(r.Context(), d.Logger, err)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(statusOf[p.Kind])
	_, _ = w.Write([]byte(p.Detail)) // fails only if the caller left
}

// refuseCode answers a request whose code is not a text, as the framework of E2B's code server does.
func refuseCode(w http.ResponseWriter) {
	exchange.WriteJSON(w, http.StatusUnprocessableEntity, "application/json",
		map[string]any{"detail": []map[string]any{{"type": "string_type", "loc": []string{"body", "code"}, "msg": "Input should be a valid string"}}})
}
