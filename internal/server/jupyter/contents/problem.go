package contents

import (
	"errors"
	"net/http"

	"cellhold"
	"cellhold/internal/attachment"
)

// Fault is an error with a status, or a reason, that Jupyter's clients know.
type Fault struct {
	Status int    // 0 means the status of the error's kind
	Reason string // a word for programs; empty means none
	Err    error
}

// Error returns the message and all causes, for the log.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap returns the error.
func (f *Fault) Unwrap() error { return f.Err }

// badType refuses a file that has another type than the client expects.
func badType(p place, is string) error {
	return &Fault{Reason: "bad type", Err: cellhold.Errorf(cellhold.Invalid, "%.400s is %s", p, is)}
}

// badFormat refuses a file that does not have the format that the client expects.
func badFormat(p place) error {
	return &Fault{Reason: "bad format", Err: cellhold.Errorf(cellhold.Invalid, "%.400s is not UTF-8 encoded", p)}
}

// tooLarge refuses a document above the limit.
func tooLarge(format string, args ...any) error {
	return &Fault{Status: http.StatusRequestEntityTooLarge, Err: cellhold.Errorf(cellhold.Exhausted, format, args...)}
}

// noSpace gives a file for which the sandbox has no space its own status. Other callers would wait and try again.
func noSpace(err error) error {
	if cellhold.KindOf(err) == cellhold.Exhausted && !errors.Is(err, attachment.ErrTransfers) {
		return &Fault{Status: http.StatusInsufficientStorage, Err: err}
	}
	return err
}

// unreadable explains why a file is no notebook.
func unreadable(p place, err error) error {
	f := &Fault{Reason: "bad notebook", Err: cellhold.Wrap(cellhold.Invalid, err, "Unreadable Notebook: %.400s: %s", p, messageOf(err))}
	if cellhold.KindOf(err) == cellhold.Exhausted {
		f.Status = http.StatusRequestEntityTooLarge
	}
	return f
}

// messageOf returns the message of an error that callers can see.
func messageOf(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e.Message
	}
	return "it cannot be read."
}
