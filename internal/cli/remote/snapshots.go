package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"strconv"
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
	ID []cellhold.SessionID `arg:"" help:"Session ids." predictor:"session"`
}

// Run hibernates all sessions that it can, and returns the errors of the others.
func (c *hibernateCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	return eachOf(out, "session", c.ID, func(id cellhold.SessionID) (any, error) { return remote.Hibernate(ctx, id) })
}

type resumeCmd struct {
	ID []cellhold.SessionID `arg:"" help:"Session ids." predictor:"session"`
}

// Run resumes all sessions that it can, and returns the errors of the others.
func (c *resumeCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	return eachOf(out, "session", c.ID, func(id cellhold.SessionID) (any, error) { return remote.Resume(ctx, id) })
}

type forkCmd struct {
	ID    cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Count int                `help:"Number of forks." short:"n" default:"1"`
	From  string             `help:"Checkpoint to start from. Default: the current state of the session." placeholder:"NAME"`
}

// Run forks a session.
func (c *forkCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	forks, err := remote.Fork(ctx, c.ID, c.Count, c.From)
	if err != nil {
		return console.Message(err)
	}
	if out.JSON {
		return out.Document(forks)
	}
	for _, f := range forks {
		if err := out.Result(f, string(f.ID)); err != nil {
			return err
		}
	}
	return nil
}

type checkpointCmd struct {
	ID   cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Name string             `arg:"" optional:"" help:"Name of the checkpoint. Omit it to list checkpoints."`
	Rm   bool               `help:"Delete the checkpoint."`
}

// Run saves, lists or deletes checkpoints.
func (c *checkpointCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	switch {
	case c.Rm && c.Name == "":
		return console.Usage(errors.New("--rm needs the name of a checkpoint"))
	case c.Rm:
		if err := remote.DeleteCheckpoint(ctx, c.ID, c.Name); err != nil {
			return err
		}
		return out.Done(named{c.Name})
	case c.Name != "":
		made, err := remote.Checkpoint(ctx, c.ID, c.Name)
		if err != nil {
			return err
		}
		return out.Done(made)
	}
	list, err := remote.Checkpoints(ctx, c.ID)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, x := range list {
		rows = append(rows, []string{x.Name, console.Clock(x.Created), strconv.FormatInt(x.Size>>20, 10), strconv.FormatInt(x.Last, 10)})
	}
	return out.Table(list, "NAME CREATED MIB EVENT", rows)
}

type rollbackCmd struct {
	ID   cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Name string             `arg:"" help:"Name of the checkpoint."`
}

// Run rolls a session back.
func (c *rollbackCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	s, err := remote.Rollback(ctx, c.ID, c.Name)
	if err != nil {
		return err
	}
	return out.Done(s)
}
