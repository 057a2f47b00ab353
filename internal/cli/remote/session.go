package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// SessionCmd holds the commands for the sessions of a server.
type SessionCmd struct {
	serverFlags `embed:""`

	Ls sessionLsCmd `cmd:"" help:"List your sessions, the newest first."`
	Rm sessionRmCmd `cmd:"" help:"End sessions."`

	Connect sessionConnectCmd `cmd:"" help:"Use a session with programs of Jupyter, such as jupyter console."`

	savedCmds `embed:""`
}

type sessionLsCmd struct{}

// Run lists sessions.
func (sessionLsCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	c, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tUSER\tSTATE\tKERNEL\tCREATED\tUSED")
	for _, s := range sessions {
		state := string(s.State)
		if s.Reason != "" {
			state += " (" + string(s.Reason) + ")"
		}
		user := console.Printable(s.User)
		if user == "" {
			user = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, user, state, kernelStates(s),
			s.Created.Local().Format(time.DateTime), s.Used.Local().Format(time.DateTime))
	}
	return table.Flush()
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
	ID  []cellhold.SessionID `arg:"" optional:"" help:"Session ids."`
	All bool                 `help:"End all your sessions."`
}

// Run ends all sessions that it can, and returns the errors of the others.
func (c *sessionRmCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, err := parent.connect(all.Home)
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
	var errs []error
	for _, id := range c.ID {
		if err := remote.DeleteSession(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("session %s: %w", id, console.Message(err)))
			continue
		}
		fmt.Fprintln(t.Out, id)
	}
	return errors.Join(errs...)
}
