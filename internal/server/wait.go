package server

import (
	"context"
	"net/http"
	"time"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// readOrWait returns a command. If wait is set, it waits until the command is done.
func (s *Server) readOrWait(ctx context.Context, in CommandPath, wait string) (cellhold.Command, error) {
	d, err := exchange.ParseWait(wait)
	if err != nil {
		return cellhold.Command{}, err
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return cellhold.Command{}, err
	}
	if d == 0 {
		return sess.History().Command(ctx, in.Command)
	}
	return s.await(ctx, sess, in.Command, d)
}

// await returns a command when it is done, when the wait ends, or when the server shuts down. In the last two cases
// there is no error: the caller gets the unfinished command and can wait again.
func (s *Server) await(ctx context.Context, sess *session.Session, id cellhold.CommandID, d time.Duration) (cellhold.Command, error) {
	waiting, leave := s.waitFor(ctx, d)
	defer leave()
	c, err := sess.History().WaitCommand(waiting, id)
	if err != nil && waiting.Err() != nil {
		return sess.History().Command(ctx, id)
	}
	return c, err
}

// waitFor returns a context that ends after d, or when the server shuts down.
func (s *Server) waitFor(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, leave := s.waiters.Enter(ctx)
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, func() { cancel(); leave() }
}

// waitStatus returns the HTTP status of an answer after a wait, and sets over if the wait ended first.
func waitStatus(done bool, over *bool) int {
	*over = !done
	if done {
		return http.StatusOK
	}
	return http.StatusAccepted
}
