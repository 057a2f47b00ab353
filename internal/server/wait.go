package server

import (
	"context"
	"net/http"
	"time"

	"cellhold"
	"cellhold/internal/history"
	"cellhold/internal/session"
)

// waitable has the functions that read a cell or a command, and that wait until it is done.
type waitable[ID, T any] struct {
	read func(*history.History, context.Context, ID) (T, error)
	wait func(*history.History, context.Context, ID) (T, error)
}

var (
	cells    = waitable[cellhold.CellID, cellhold.Cell]{(*history.History).Cell, (*history.History).WaitCell}
	commands = waitable[cellhold.CommandID, cellhold.Command]{(*history.History).Command, (*history.History).WaitCommand}
)

// readOrWait returns a cell or a command. If wait is set, it waits until the cell or command is done.
func readOrWait[ID, T any](ctx context.Context, s *Server, in SessionPath, wait string, id ID, of waitable[ID, T]) (none T, err error) {
	d, err := parseWait(wait)
	if err != nil {
		return none, err
	}
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return none, err
	}
	if d == 0 {
		return of.read(sess.History(), ctx, id)
	}
	return await(ctx, s, sess, id, d, of)
}

// await returns a cell or a command when it is done, when the wait ends, or when the server shuts down. In
// the last two cases there is no error: the caller gets the unfinished cell or command and can wait again.
func await[ID, T any](ctx context.Context, s *Server, sess *session.Session, id ID, d time.Duration, of waitable[ID, T]) (T, error) {
	waiting, leave := s.waitFor(ctx, d)
	defer leave()
	v, err := of.wait(sess.History(), waiting, id)
	if err != nil && waiting.Err() != nil {
		return of.read(sess.History(), ctx, id)
	}
	return v, err
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
