package jupyter

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"

	"cellhold"
)

func TestEachKindOfErrorHasItsStatusInJupyter(t *testing.T) {
	s := &Server{Options: Options{Logger: slog.New(slog.DiscardHandler)}}
	kinds := map[cellhold.Kind]int{cellhold.Invalid: 400, cellhold.NotFound: 404, cellhold.Conflict: 409, cellhold.Denied: 403, cellhold.Exhausted: 429,
		cellhold.Unavailable: 503, cellhold.Unsupported: 501, cellhold.Internal: 500}
	if len(kinds) != len(statusOf) {
		t.Fatalf("the table has %d kinds, want %d", len(statusOf), len(kinds))
	}
	for kind, status := range kinds {
		w := httptest.NewRecorder()
		s.fail(w, httptest.NewRequest("GET", "/", nil), cellhold.Wrap(kind, errors.New("cause"), "shown"))
		if want := `{"message":"shown","reason":null}` + "\n"; w.Code != status || kind != cellhold.Internal && w.Body.String() != want {
			t.Errorf("%s: got status %d with %s, want %d with %s", kind, w.Code, w.Body, status, want)
		}
	}
}
