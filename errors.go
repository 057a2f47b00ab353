package cellhold

import (
	"errors"
	"fmt"
)

// Kind is the kind of an error that crosses an API. Each API maps the kinds to its own codes in one table.
type Kind string

// The kinds of error.
const (
	Invalid     Kind = "invalid"     // the request is wrong
	NotFound    Kind = "not_found"   // the object does not exist, or belongs to another caller
	Conflict    Kind = "conflict"    // the request does not fit the present state
	Denied      Kind = "denied"      // not allowed
	Exhausted   Kind = "exhausted"   // a limit was reached
	Unavailable Kind = "unavailable" // not possible now; a retry can succeed
	Unsupported Kind = "unsupported" // this server or host does not have the feature
	Internal    Kind = "internal"    // an error of the server
)

// Error is the only error type that crosses APIs. Message is safe to show to any caller. Err is for the
// operator's log.
type Error struct {
	Kind    Kind
	Message string
	Err     error
}

// Errorf returns an error of kind k. Its message must be safe to show to any caller.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of kind k with a message that is safe to show to any caller, and a cause for the log.
func Wrap(k Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Err: err}
}

// Error returns the message and all causes, for the log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error. An error of another type is Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
