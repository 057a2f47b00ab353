package exchange

import (
	"context"
	"testing"
)

func TestWaitsBeforeAndAfterSendAwayEnd(t *testing.T) {
	var w Waiters
	_, leave := w.Enter(t.Context())
	leave()
	if len(w.leave) != 0 {
		t.Errorf("got %d waiting requests after leave, want 0", len(w.leave))
	}
	waiting, leave := w.Enter(t.Context())
	defer leave()
	w.SendAway()
	later, leave := w.Enter(t.Context())
	defer leave()
	for name, ctx := range map[string]context.Context{"before": waiting, "after": later} {
		if <-ctx.Done(); context.Cause(ctx) != ErrAway {
			t.Errorf("a wait that began %s SendAway: got the cause %v, want ErrAway", name, context.Cause(ctx))
		}
	}
}
