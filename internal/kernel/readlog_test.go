package kernel_test

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
)

// slow is an agent whose second event never arrives completely.
type slow struct{ *agent }

func (s slow) Events(_ context.Context, after int64) iter.Seq2[guestapi.Event, error] {
	return func(yield func(guestapi.Event, error) bool) {
		s.mu.Lock()
		ev := s.evs[0]
		s.mu.Unlock()
		if after > 0 || yield(ev, nil) {
			yield(guestapi.Event{}, cellhold.Errorf(cellhold.Internal, "a large event too slowly"))
		}
	}
}

func TestTheLogSaysOnceThatAnEventCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := slow{newAgent(silent)}
		w := openWith(t, newMemory(), s.agent, func(o *kernel.Options) {
			o.Link, o.Logger = s, slog.New(slog.NewTextHandler(&log, nil))
		})
		<-time.After(time.Minute)
		w.stop()
		if n := strings.Count(log.String(), "a large event too slowly"); n != 1 {
			t.Errorf("the log has the reason %d times, want once:\n%s", n, &log)
		}
	})
}
