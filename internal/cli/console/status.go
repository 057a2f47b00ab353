package console

import (
	"cellhold"
	"errors"
)

// Exit statuses. They are part of the interface: a status keeps its meaning. Shells and timeout(1) use the same values from
// 124 for commands that did not end by themselves.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitInvalid     = 3
	ExitNotFound    = 4
	ExitConflict    = 5
	ExitDenied      = 6
	ExitExhausted   = 7
	ExitUnavailable = 8
	ExitUnsupported = 9
	ExitInternal    = 10
	ExitTimeout     = 124
	ExitUnknown     = 125 // docker and env use it in the same way
	ExitCannotRun   = 126
	ExitNoProgram   = 127
	ExitInterrupted = 130
	ExitKilled      = 137
)

// Status is an exit status and its meaning.
type Status struct {
	Code    int
	Meaning string
}

// Statuses are all exit statuses that the program gives a meaning. The manual has this table.
var Statuses = []Status{
	{ExitOK, "success"},
	{ExitFailed, "the command failed for another reason; a code or a test failed"},
	{ExitUsage, "wrong use of the command line, the environment or the configuration file"},
	{ExitInvalid, "the server refused the request as wrong (`invalid`)"},
	{ExitNotFound, "the session, or another thing, does not exist (`not_found`)"},
	{ExitConflict, "the request does not fit the state (`conflict`)"},
	{ExitDenied, "the token is wrong, or the operator's settings do not allow it (`denied`)"},
	{ExitExhausted, "a limit is reached (`exhausted`)"},
	{ExitUnavailable, "the server cannot be reached, or cannot do it now (`unavailable`)"},
	{ExitUnsupported, "this server cannot do it (`unsupported`)"},
	{ExitInternal, "a mistake of the server (`internal`)"},
	{ExitTimeout, "the deadline passed"},
	{ExitUnknown, "`exec`: cellhold failed, and the status of the command is unknown"},
	{ExitCannotRun, "`exec`: the program cannot be run"},
	{ExitNoProgram, "`exec`: there is no such program"},
	{ExitInterrupted, "you interrupted it; for a cell, another caller can have done so"},
	{ExitKilled, "the code was killed, such as at the limit of memory"},
}

// kindStatuses are the exit statuses of the kinds of error.
var kindStatuses = map[cellhold.Kind]int{
	cellhold.Invalid: ExitInvalid, cellhold.NotFound: ExitNotFound, cellhold.Conflict: ExitConflict, cellhold.Denied: ExitDenied,
	cellhold.Exhausted: ExitExhausted, cellhold.Unavailable: ExitUnavailable, cellhold.Unsupported: ExitUnsupported, cellhold.Internal: ExitInternal,
}

// ownFailure is an error of cellhold in a command whose other exit statuses belong to the code that it runs.
type ownFailure struct{ error }

// OwnFailure returns err as an error with the status ExitFailed, unless it is an ExitError or a UsageError.
func OwnFailure(err error) error { return ownFailure{err} }

// Unwrap returns the error.
func (e ownFailure) Unwrap() error { return e.error }

// ExitStatus returns the exit status for an error of a command.
func ExitStatus(err error) int {
	if err == nil {
		return ExitOK
	}
	if exit, ok := errors.AsType[ExitError](err); ok {
		return int(exit)
	}
	if _, ok := errors.AsType[UsageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[ownFailure](err); ok {
		return ExitFailed
	}
	kind := cellhold.Kind("")
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		kind = e.Kind
	} else if m, ok := errors.AsType[message](err); ok {
		kind = m.kind
	}
	if status := kindStatuses[kind]; status != 0 {
		return status
	}
	return ExitFailed
}

// CellStatus returns the exit status for the result of a cell.
func CellStatus(s cellhold.CellStatus) int {
	switch s {
	case cellhold.StatusOK:
		return ExitOK
	case cellhold.StatusTimeout:
		return ExitTimeout
	case cellhold.StatusInterrupted, cellhold.StatusCancelled:
		return ExitInterrupted
	case cellhold.StatusOOM, cellhold.StatusSignal:
		return ExitKilled
	}
	return ExitFailed
}
