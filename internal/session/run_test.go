package session

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"cellhold"
	"cellhold/internal/kernel"
)

// empty is a journal without events.
type empty struct{ kernel.Journal }

// Tail says that there are none.
func (empty) Tail(context.Context, cellhold.SessionID) (seq, bytes int64, err error) {
	return 0, 0, nil
}

func TestAShutdownDoesNotWaitForEverForAChangeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Manager{o: Options{Logger: slog.New(slog.DiscardHandler)}}
		log, err := kernel.NewLog(t.Context(), "s", empty{})
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(m, cellhold.Session{ID: "s", Kernels: []cellhold.Kernel{{ID: "python3"}}}, log)
		s.run(t.Context())
		s.life <- struct{}{} // somebody starts a kernel that does not come up
		s.letGo(t.Context())
		m.running.Wait()
		for _, err := range log.Watch(t.Context(), 0) {
			if cellhold.KindOf(err) != cellhold.Unavailable {
				t.Errorf("a watcher was told %v", err)
			}
		}
	})
}
