package session

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/mirror"
	"cellhold/internal/record"
)

// empty is an empty journal.
type empty struct{ kernel.Journal }

// Tail returns zeros, because there are no events.
func (empty) Tail(context.Context, cellhold.SessionID) (seq, bytes int64, err error) {
	return 0, 0, nil
}

func TestAShutdownDoesNotWaitForATransitionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		env := &Environment{Store: struct{ Store }{}, Logger: slog.New(slog.DiscardHandler), Folders: &mirror.Folders{}, Running: &running}
		log, err := kernel.NewLog(t.Context(), "s", empty{})
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(env, record.Session{Session: cellhold.Session{ID: "s", State: cellhold.SessionReady, Kernels: []cellhold.Kernel{{ID: "python3"}}}}, log)
		s.run(t.Context())
		if _, err := s.states.Acquire(t.Context()); err != nil { // like the start of a kernel that hangs
			t.Fatal(err)
		}
		s.Detach(t.Context())
		running.Wait()
		for _, err := range log.Watch(t.Context(), 0) {
			if cellhold.KindOf(err) != cellhold.Unavailable {
				t.Errorf("a watch ended with %v", err)
			}
		}
	})
}
