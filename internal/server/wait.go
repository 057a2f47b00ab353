package server

import (
	"context"
	"net/http"
	"time"

	"cellhold"
	"cellhold/internal/session"
)

// doing is what runs in a session until it is done, and how to look at one and to wait for it.
type doing[ID, T any] struct {
	now  func(*session.Session, context.Context, ID) (T, error)
	done func(*session.Session, context.Context, ID) (T, error)
}

var (
	cells    = doing[cellhold.CellID, cellhold.Cell]{now: (*session.Session).Cell, done: (*session.Session).Wait}
	commands = doing[cellhold.CommandID, cellhold.Command]{now: (*session.Session).Command, done: (*session.Session).WaitCommand}
)

// look returns one of a session's doings as it is, or waits for it if the caller said how long.
func look[ID, T any](ctx context.Context, s *Server, in SessionPath, wait string, id ID, of doing[ID, T]) (none T, err error) {
	d, err := parseWait(wait)
	if err != nil {
		return none, err
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return none, err
	}
	if d == 0 {
		return of.now(sess, ctx, id)
	}
	return await(ctx, s, sess, id, d, of)
}

// await returns it when it is done, when the wait is over, or when the server shuts down. The last two
// are no errors: the caller gets it as it is, and may ask again.
func await[ID, T any](ctx context.Context, s *Server, sess *session.Session, id ID, d time.Duration, of doing[ID, T]) (T, error) {
	waiting, leave := s.waitFor(ctx, d)
	defer leave()
	v, err := of.done(sess, waiting, id)
	if err != nil && waiting.Err() != nil {
		return of.now(sess, ctx, id)
	}
	return v, err
}

// waitFor returns a context that ends after d, or when waiters are sent away.
func (s *Server) waitFor(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, leave := s.waiters.Enter(ctx)
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, func() { cancel(); leave() }
}

// waitStatus returns the status of an answer after a wait, and notes whether the wait was over before.
func waitStatus(done bool, over *bool) int {
	*over = !done
	if done {
		return http.StatusOK
	}
	return http.StatusAccepted
}
