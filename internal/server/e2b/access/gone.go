package access

import (
	"errors"
	"net/http"

	"cellhold"
	"cellhold/internal/session"
)

// IsGone reports whether an error says that a session cannot be used any more: its sandbox has ended, or it was paused or
// ended after Target found it. The clients expect the answer of WriteGone.
func IsGone(s *session.Session, err error) bool {
	return errors.Is(err, session.ErrNoSandbox) || cellhold.KindOf(err) == cellhold.Conflict && !usable(s)
}

// Admit returns the sandbox of a request whose token allow accepts. Otherwise it answers, for a wrong token with the status
// refused, and returns nil. It finds the sandbox before it checks the token; see Target.
func (a *Access) Admit(w http.ResponseWriter, r *http.Request, allow func(*http.Request, *session.Session) bool, refused int) *session.Session {
	s, id := a.Target(r)
	if s != nil && allow(r, s) {
		return s
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // do not read the body
	}
	if s == nil {
		WriteGone(w, id)
	} else {
		WriteRefused(w, refused, "The token of the sandbox is missing or wrong: connect to the sandbox again.")
	}
	return nil
}
