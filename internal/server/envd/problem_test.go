package envd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/envd/processpb"
	"cellhold/internal/server/exchange"
)

func TestEachKindOfErrorHasItsCodeAndItsStatus(t *testing.T) {
	s := &Server{o: Options{Logger: slog.New(slog.DiscardHandler)}}
	kinds := map[cellhold.Kind]struct {
		code   connect.Code
		status int
	}{
		cellhold.Invalid: {connect.CodeInvalidArgument, 400}, cellhold.NotFound: {connect.CodeNotFound, 404},
		cellhold.Conflict: {connect.CodeFailedPrecondition, 400}, cellhold.Denied: {connect.CodePermissionDenied, 403},
		cellhold.Exhausted: {connect.CodeResourceExhausted, 429}, cellhold.Unavailable: {connect.CodeUnavailable, 503},
		cellhold.Unsupported: {connect.CodeUnimplemented, 400}, cellhold.Internal: {connect.CodeInternal, 500},
	}
	if len(kinds) != len(codeOf) || len(kinds) != len(statusOf) {
		t.Fatalf("the tables have %d and %d kinds, want %d", len(codeOf), len(statusOf), len(kinds))
	}
	for kind, want := range kinds {
		err := cellhold.Wrap(kind, errors.New("cause"), "shown")
		got := s.problem(t.Context(), err)
		e, ok := errors.AsType[*connect.Error](got)
		if !ok || e.Code() != want.code || kind != cellhold.Internal && e.Message() != "shown" {
			t.Errorf("%s: got %v, want the code %s and the message", kind, got, want.code)
		}
		w := httptest.NewRecorder()
		if s.fail(w, httptest.NewRequest("GET", "/", nil), err); w.Code != want.status {
			t.Errorf("%s: got status %d, want %d", kind, w.Code, want.status)
		}
	}
}

// The SDKs show the status 507 as a full disk.
func TestOnlyAFileWithoutSpaceIsInsufficientStorage(t *testing.T) {
	s := &Server{o: Options{Logger: slog.New(slog.DiscardHandler)}}
	full := cellhold.Errorf(cellhold.Exhausted, "The disk is full.")
	for want, err := range map[int]error{507: fmt.Errorf("%w: %w", errNoSpace, full), 429: attachment.ErrTransfers} {
		w := httptest.NewRecorder()
		if s.fail(w, httptest.NewRequest("POST", "/", nil), err); w.Code != want {
			t.Errorf("%v: got status %d with %s, want %d", err, w.Code, w.Body, want)
		}
	}
}

// Each planned restart of the server ends the streams of processes. The clients must not get an internal error.
func TestTheEndOfTheServerIsNoInternalError(t *testing.T) {
	s := &Server{o: Options{Logger: slog.New(slog.DiscardHandler)}}
	away, cancel := context.WithCancelCause(t.Context())
	cancel(exchange.ErrAway)
	for name, err := range map[string]error{"cause": exchange.ErrAway, "end of the context": fmt.Errorf("wait: %w", away.Err())} {
		if e, ok := errors.AsType[*connect.Error](s.problem(away, err)); !ok || e.Code() != connect.CodeUnavailable {
			t.Errorf("%s: got %v, want the code unavailable", name, e)
		}
	}
	if e, ok := errors.AsType[*connect.Error](s.problem(t.Context(), away.Err())); !ok || e.Code() != connect.CodeInternal {
		t.Errorf("another end of a context: got %v, want the code internal", e)
	}
}

func TestATerminalWithoutASizeHasTheUsualOne(t *testing.T) {
	for want, size := range map[cellhold.Terminal]*processpb.PTY_Size{
		{Rows: 24, Cols: 80}: nil, {Rows: 24, Cols: 7}: {Cols: 7}, {Rows: 7, Cols: 80}: {Rows: 7}, {Rows: 1000, Cols: 1000}: {Rows: 1 << 31, Cols: 1<<32 - 1},
	} {
		if got := terminalOf(size); got != want {
			t.Errorf("%v: got %+v, want %+v", size, got, want)
		}
	}
}

func TestPathsBeginAtTheHomeOfTheUser(t *testing.T) {
	for path, want := range map[string]string{"a": "/home/user/a", "./a/../b": "/home/user/b", "~": "/home/user", "~/a": "/home/user/a", "~a": "/home/user/~a", "/a/../b": "/b", "": "/home/user", "../../..": "/"} {
		if got := absolute(path); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}
