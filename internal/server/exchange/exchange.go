// Package exchange has the parts of an HTTP exchange that all routes share: request ids and callers, limits of
// time and size, the error body, and the list of waiting requests.
//
// It knows no routes and no sessions, and does not decide which callers are allowed.
//
// Waiters.mu is the only lock. It is held for map operations only.
package exchange

import (
	"context"
	"time"

	"cellhold/internal/memory"
)

// actTime limits an action that continues after its caller left, such as ending a session.
const actTime = 2 * time.Minute

// Act returns a context for an action that must not stop halfway when the caller leaves. The context has the values
// of ctx. It ends after actTime, and not with the request. Its reads do not wait for slow readers of other requests.
func Act(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(memory.Detach(ctx), actTime)
}
