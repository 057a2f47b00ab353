package server

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// handler is the function that huma calls for one operation.
type handler[I, O any] = func(context.Context, *I) (*O, error)

// session returns a session of the caller. An unknown session and a session of another caller give the same
// error.
func (s *Server) session(ctx context.Context, id cellhold.SessionID) (*session.Session, error) {
	return s.sessions.Session(ctx, exchange.Caller(ctx), id)
}

// enter returns the sandbox of a session of the caller for one call. See session.Enter.
func (s *Server) enter(ctx context.Context, id cellhold.SessionID) (a *attachment.Attachment, leave func(), err error) {
	sess, err := s.session(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return sess.Enter(ctx)
}

// seconds converts a number of seconds from a body, whose schema limits it, to a duration.
func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
