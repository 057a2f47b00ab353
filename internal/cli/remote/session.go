package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"strings"
)

// SessionCmd holds the commands for the sessions of a server.
type SessionCmd struct {
	printing `embed:""`

	Ls       sessionLsCmd       `cmd:"" help:"List your sessions, the newest first."`
	New      sessionNewCmd      `cmd:"" help:"Create a session, and print its id."`
	Show     sessionShowCmd     `cmd:"" help:"Print the state and the settings of a session."`
	Rm       sessionRmCmd       `cmd:"" help:"End sessions."`
	Deadline sessionDeadlineCmd `cmd:"" help:"Set the time at which a session ends or hibernates."`
	Events   sessionEventsCmd   `cmd:"" help:"Print the events of a session, until it ends or Ctrl-C."`

	Connect sessionConnectCmd `cmd:"" help:"Use a session with programs of Jupyter, such as jupyter console."`

	savedCmds `embed:""`
}

type sessionLsCmd struct{}

// Run lists sessions.
func (sessionLsCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	c, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range sessions {
		rows = append(rows, []string{string(s.ID), s.User, sessionState(s), kernelStates(s), console.Clock(s.Created), console.Clock(s.Used)})
	}
	return out.Table(sessions, "ID USER STATE KERNEL CREATED USED", rows)
}

// sessionState returns the state of a session, with the reason of its end.
func sessionState(s cellhold.Session) string {
	if s.Reason != "" {
		return string(s.State) + " (" + string(s.Reason) + ")"
	}
	return string(s.State)
}

func kernelStates(s cellhold.Session) string {
	var states []string
	for _, k := range s.Kernels {
		state := string(k.State)
		if k.Cause != "" {
			state += " (" + string(k.Cause) + ")"
		}
		if len(s.Kernels) > 1 {
			state = string(k.ID) + " " + state
		}
		states = append(states, state)
	}
	if len(states) == 0 {
		return "-"
	}
	return strings.Join(states, ", ")
}

type sessionRmCmd struct {
	ID  []cellhold.SessionID `arg:"" optional:"" help:"Session ids." predictor:"session"`
	All bool                 `help:"End all your sessions."`
}

// Run ends all sessions that it can, and returns the errors of the others.
func (c *sessionRmCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if (len(c.ID) == 0) != c.All {
		return errors.New("name the sessions to end, or give --all (not both)")
	}
	if c.All {
		sessions, err := remote.Sessions(ctx)
		if err != nil {
			return err
		}
		for _, s := range sessions {
			c.ID = append(c.ID, s.ID)
		}
	}
	return eachOf(out, "session", c.ID, func(id cellhold.SessionID) (any, error) {
		return named{string(id)}, remote.DeleteSession(ctx, id)
	})
}

// eachOf calls do for each id, and prints the ids for which it succeeded, or their results as one JSON list. It returns the
// errors of the others.
func eachOf[T ~string](out console.Printer, noun string, ids []T, do func(T) (any, error)) error {
	var errs []error
	results := []any{}
	for _, id := range ids {
		result, err := do(id)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", noun, id, console.Message(err)))
			continue
		}
		results = append(results, result)
		if !out.JSON {
			errs = append(errs, out.Result(result, string(id)))
		}
	}
	if out.JSON {
		errs = append(errs, out.Document(results))
	}
	return errors.Join(errs...)
}
