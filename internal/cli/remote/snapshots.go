package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"
)

// savedCmds are the commands that save and restore sessions.
type savedCmds struct {
	Hibernate  hibernateCmd  `cmd:"" help:"Save sessions to disk and free their memory. The next use resumes them."`
	Resume     resumeCmd     `cmd:"" help:"Resume hibernated sessions."`
	Fork       forkCmd       `cmd:"" help:"Create sessions from the memory and files of a session, and print their ids."`
	Checkpoint checkpointCmd `cmd:"" help:"Create, list or delete checkpoints of a session."`
	Rollback   rollbackCmd   `cmd:"" help:"Roll a session back to a checkpoint."`
}

type hibernateCmd struct {
	ID []cellhold.SessionID `arg:"" help:"Session ids."`
}

// Run hibernates all sessions that it can, and returns the errors of the others.
func (c *hibernateCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	return eachSession(t, c.ID, func(id cellhold.SessionID) error {
		_, err := remote.Hibernate(ctx, id)
		return err
	})
}

type resumeCmd struct {
	ID []cellhold.SessionID `arg:"" help:"Session ids."`
}

// Run resumes all sessions that it can, and returns the errors of the others.
func (c *resumeCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	return eachSession(t, c.ID, func(id cellhold.SessionID) error {
		_, err := remote.Resume(ctx, id)
		return err
	})
}

// eachSession calls do for each session, prints the ids for which it succeeded, and returns the errors of the
// others.
func eachSession(t *console.Terminal, ids []cellhold.SessionID, do func(cellhold.SessionID) error) error {
	var errs []error
	for _, id := range ids {
		if err := do(id); err != nil {
			errs = append(errs, fmt.Errorf("session %s: %w", id, console.Message(err)))
			continue
		}
		fmt.Fprintln(t.Out, id)
	}
	return errors.Join(errs...)
}

type forkCmd struct {
	ID    cellhold.SessionID `arg:"" help:"Session id."`
	Count int                `help:"Number of forks." short:"n" default:"1"`
	From  string             `help:"Checkpoint to start from. Default: the current state of the session." placeholder:"NAME"`
}

// Run forks a session.
func (c *forkCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	forks, err := remote.Fork(ctx, c.ID, c.Count, c.From)
	if err != nil {
		return console.Message(err)
	}
	for _, f := range forks {
		fmt.Fprintln(t.Out, f.ID)
	}
	return nil
}

type checkpointCmd struct {
	ID   cellhold.SessionID `arg:"" help:"Session id."`
	Name string             `arg:"" optional:"" help:"Name of the checkpoint. Omit it to list checkpoints."`
	Rm   bool               `help:"Delete the checkpoint."`
}

// Run saves, lists or deletes checkpoints.
func (c *checkpointCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	switch {
	case c.Rm && c.Name == "":
		return errors.New("--rm needs the name of a checkpoint")
	case c.Rm:
		return console.Message(remote.DeleteCheckpoint(ctx, c.ID, c.Name))
	case c.Name != "":
		_, err := remote.Checkpoint(ctx, c.ID, c.Name)
		return console.Message(err)
	}
	list, err := remote.Checkpoints(ctx, c.ID)
	if err != nil {
		return console.Message(err)
	}
	table := tabwriter.NewWriter(t.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tCREATED\tMIB\tEVENT")
	for _, x := range list {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", console.Printable(x.Name), x.Created.Local().Format(time.DateTime), x.Size>>20, x.Last)
	}
	return table.Flush()
}

type rollbackCmd struct {
	ID   cellhold.SessionID `arg:"" help:"Session id."`
	Name string             `arg:"" help:"Name of the checkpoint."`
}

// Run rolls a session back.
func (c *rollbackCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, _ *console.Terminal) error {
	remote, err := parent.connect(all.Home)
	if err != nil {
		return err
	}
	_, err = remote.Rollback(ctx, c.ID, c.Name)
	return console.Message(err)
}
