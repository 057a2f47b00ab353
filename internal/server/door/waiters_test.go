package door

import (
	"context"
	"testing"
)

func TestWhoLeavesIsForgottenAndWhoStaysIsSentAway(t *testing.T) {
	var w Waiters
	_, leave := w.Enter(t.Context())
	leave()
	if len(w.leave) != 0 {
		t.Errorf("%d still wait", len(w.leave))
	}
	waiting, leave := w.Enter(t.Context())
	defer leave()
	w.SendAway()
	later, leave := w.Enter(t.Context())
	defer leave()
	for name, ctx := range map[string]context.Context{"before": waiting, "after": later} {
		if <-ctx.Done(); context.Cause(ctx) != ErrAway {
			t.Errorf("who came %s it: %v", name, context.Cause(ctx))
		}
	}
}
