package e2b

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"

	"cellhold"
)

// kinds has the status of each kind of error in the E2B API.
var kinds = map[cellhold.Kind]int{
	cellhold.Invalid: 400, cellhold.NotFound: 404, cellhold.Conflict: 409, cellhold.Denied: 403, cellhold.Exhausted: 429,
	cellhold.Unavailable: 503, cellhold.Unsupported: 400, cellhold.Internal: 500,
}

func TestEachKindOfErrorHasItsStatusInTheHeaderAndInTheBody(t *testing.T) {
	d := &door{Options: Options{Logger: slog.New(slog.DiscardHandler)}}
	if len(kinds) != len(statusOf) {
		t.Fatalf("the table has %d kinds, want %d", len(statusOf), len(kinds))
	}
	for kind, status := range kinds {
		w := httptest.NewRecorder()
		d.fail(w, httptest.NewRequest("GET", "/", nil), cellhold.Wrap(kind, errors.New("cause"), "shown"))
		var body struct {
			Code    int
			Message string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != status || body.Code != status || body.Message == "" || kind != cellhold.Internal && body.Message != "shown" {
			t.Errorf("%s: got status %d with %s, %v; want %d in both places and the message", kind, w.Code, w.Body, err, status)
		}
		if retry := w.Header().Get("Should-Retry"); (retry == "false") != (kind == cellhold.Exhausted) {
			t.Errorf("%s: got Should-Retry %q", kind, retry)
		}
		w = httptest.NewRecorder()
		d.failText(w, httptest.NewRequest("GET", "/", nil), cellhold.Wrap(kind, errors.New("cause"), "shown"))
		if w.Code != status || kind != cellhold.Internal && w.Body.String() != "shown" {
			t.Errorf("%s as text: got status %d with %s, want %d with the message", kind, w.Code, w.Body, status)
		}
	}
}
