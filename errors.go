package cellhold

import (
	"errors"
	"fmt"
)

// Kind sorts the errors that cross a door. Each door has one table from kind to its own code.
type Kind string

// The kinds of error.
const (
	Invalid     Kind = "invalid"     // the request itself is wrong
	NotFound    Kind = "not_found"   // no such thing, or not the caller's
	Conflict    Kind = "conflict"    // not in this state
	Denied      Kind = "denied"      // not allowed
	Exhausted   Kind = "exhausted"   // a limit is reached
	Unavailable Kind = "unavailable" // not now; trying again may help
	Unsupported Kind = "unsupported" // this server or host cannot do that
	Internal    Kind = "internal"    // our fault
)

// Error is the one error type that crosses doors. Message is safe to show to anyone; Err is for
// the operator's log.
type Error struct {
	Kind    Kind
	Message string
	Err     error
}

// Errorf returns an error of that kind whose message is safe to show.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of that kind with a message that is safe to show and a cause that is not.
func Wrap(k Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Err: err}
}

// Error returns the whole chain, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error; what is not ours is Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
