package server

import (
	"context"
	"strconv"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

const (
	// maxWait is the longest wait of one request. Proxies and NAT cut longer ones.
	maxWait = 10 * time.Minute
	// maxSeconds is the longest duration in a body, one year. It is far above every limit of a session and
	// far below the overflow of a duration.
	maxSeconds = 365 * 24 * 3600
)

// handler is the function that huma calls for one operation.
type handler[I, O any] = func(context.Context, *I) (*O, error)

// session returns a session of the caller. An unknown session and a session of another caller give the same
// error.
func (s *Server) session(ctx context.Context, id cellhold.SessionID) (*session.Session, error) {
	return s.sessions.Session(exchange.Caller(ctx), id)
}

// enter returns the sandbox of a session of the caller for one call. See session.Enter.
func (s *Server) enter(ctx context.Context, id cellhold.SessionID) (a *attachment.Attachment, leave func(), err error) {
	sess, err := s.session(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return sess.Enter(ctx)
}

// parseWait reads a Go duration or a number of seconds. An empty text means no wait.
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

// seconds converts a number of seconds from a body, whose schema limits it, to a duration.
func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
