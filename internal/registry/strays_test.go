package registry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// TestARemovalThatFailsIsRepeatedLessAndLessOften has a removal that fails at once.
func TestARemovalThatFailsIsRepeatedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Registry{o: Options{Logger: slog.New(slog.DiscardHandler)}, reschedule: make(chan struct{}, 1),
			sessions: map[cellhold.SessionID]*session.Session{}, condemned: map[sandbox.ID]int{}}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.expire(ctx) })
		begun := time.Now()
		var tries []time.Duration
		r.cleanUp(ctx, r.newStray("s-0000", func(context.Context) error {
			tries = append(tries, time.Since(begun)/time.Second)
			if len(tries) == 9 {
				cancel()
			}
			return errors.New("no")
		}))
		running.Wait()
		if want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183}; !slices.Equal(tries, want) {
			t.Errorf("the removal was tried after %d seconds, want %d", tries, want)
		}
	})
}
