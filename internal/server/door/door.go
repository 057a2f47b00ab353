// Package door has what every route of the server shares: the id of a request and its caller, the
// bounds of time and size, the shape of an error, the list of requests that wait.
//
// It refuses to know routes, sessions and who may call.
//
// Lock order: there is one lock, Waiters.mu, held for map operations only.
package door

import (
	"context"
	"time"
)

// actTime bounds an act that goes on when its caller has left, such as ending a session.
const actTime = 2 * time.Minute

// Act returns a context for what must not be left half done when the caller leaves: watching
// ends with the request, acting does not.
func Act(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), actTime)
}
