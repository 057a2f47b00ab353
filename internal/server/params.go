package server

import (
	"context"
	"strconv"
	"time"

	"cellhold"
	"cellhold/internal/server/door"
	"cellhold/internal/session"
)

const (
	// maxWait is the longest that one request waits: longer ones are cut by proxies and NAT.
	maxWait = 10 * time.Minute
	// maxSeconds is the longest duration that a body may ask for, one year: far beyond every
	// ceiling of the session, and far from the overflow of a duration.
	maxSeconds = 365 * 24 * 3600
)

// handler is what huma calls for one operation.
type handler[I, O any] = func(context.Context, *I) (*O, error)

// session finds a session of the caller. Unknown and foreign ones give the same error.
func (s *Server) session(ctx context.Context, id cellhold.SessionID) (*session.Session, error) {
	return s.sessions.Session(door.Caller(ctx), id)
}

// parseWait reads a wait: a Go duration or plain seconds. Empty is no wait.
func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= maxSeconds) { // the negation also refuses NaN
			return 0, cellhold.Errorf(cellhold.Invalid, "The wait is neither a duration such as 30s nor a number of seconds.")
		}
		d = seconds(n)
	}
	if d < 0 {
		return 0, cellhold.Errorf(cellhold.Invalid, "The wait is negative.")
	}
	return min(d, maxWait), nil
}

// seconds turns the number of seconds of a body, which its schema bounds, into a duration.
func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
