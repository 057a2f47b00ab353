package server

import (
	"context"
	"strconv"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
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

// enter returns the sandbox of a caller's session for one call, as session.Enter does.
func (s *Server) enter(ctx context.Context, id cellhold.SessionID) (a *attachment.Attachment, leave func(), err error) {
	sess, err := s.session(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return sess.Enter(ctx)
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
			return 0, cellhold.Errorf(cellhold.Invalid, "Invalid wait %.40q: use a duration such as 30s, or seconds.", text)
		}
		d = seconds(n)
	}
	if d < 0 {
		return 0, cellhold.Errorf(cellhold.Invalid, "Invalid wait %.40q: it must not be negative.", text)
	}
	return min(d, maxWait), nil
}

// seconds turns the number of seconds of a body, which its schema bounds, into a duration.
func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
