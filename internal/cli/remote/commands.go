package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cmp"
	"context"
	"encoding/base64"
	"io"
	"strconv"
	"strings"
)

// CommandCmd holds the commands for the commands of a session. ExecCmd starts them.
type CommandCmd struct {
	printing `embed:""`

	Ls     commandLsCmd     `cmd:"" help:"List the commands of a session, the oldest first."`
	Show   commandShowCmd   `cmd:"" help:"Print the output of a command so far. With --json, print the whole command."`
	Signal commandSignalCmd `cmd:"" help:"Send a signal to the process group of a command."`
	End    commandEndCmd    `cmd:"" help:"Kill a command and all processes that it started."`
}

// oneCommand names a command of a session.
type oneCommand struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Command cellhold.CommandID `arg:"" help:"Command id."`
}

type commandLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists commands.
func (c *commandLsCmd) Run(ctx context.Context, parent *CommandCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.Commands(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, x := range list {
		exit := ""
		if x.State == cellhold.CommandDone {
			exit = strconv.Itoa(x.Code)
		}
		rows = append(rows, []string{string(x.ID), cmp.Or(string(x.Status), string(x.State)), exit, console.Clock(x.Started),
			shortened(cmp.Or(x.Line, strings.Join(x.Args, " ")))})
	}
	return out.Table(list, "ID STATE EXIT STARTED COMMAND", rows)
}

type commandShowCmd struct {
	oneCommand `embed:""`
	Wait       bool `help:"Wait until the command is done."`
}

// Run prints the output of a command.
func (c *commandShowCmd) Run(ctx context.Context, parent *CommandCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	read := remote.Command
	if c.Wait {
		read = remote.WaitCommand
	}
	x, err := read(ctx, c.Session, c.Command)
	if err != nil || out.JSON {
		return firstError(err, func() error { return out.Document(x) })
	}
	if out.Quiet {
		return out.Result(x, string(x.ID))
	}
	return firstError(printOutput(bytesTo(t, t.Out), x.Stdout), func() error { return printOutput(bytesTo(t, t.Err), x.Stderr) })
}

// firstError returns err, or else the result of next.
func firstError(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

// printOutput writes the output of a command on one stream. Bytes that are omitted are counted in between.
func printOutput(w io.Writer, o cellhold.CommandOutput) error {
	parts := []string{o.Text}
	if o.Omitted > 0 {
		parts = append(parts, o.Tail)
	}
	for i, part := range parts {
		text := []byte(part)
		if o.Encoding == "base64" {
			var err error
			if text, err = base64.StdEncoding.DecodeString(part); err != nil {
				return cellhold.Wrap(cellhold.Internal, err, "The server sent output that is not valid base64.")
			}
		}
		if i > 0 {
			text = append([]byte("\n… "+strconv.FormatInt(o.Omitted, 10)+" bytes are omitted …\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return ended(w)
}

type commandSignalCmd struct {
	oneCommand `embed:""`
	Signal     string `arg:"" optional:"" help:"Name or number of the signal." default:"TERM"`
}

// Run sends a signal.
func (c *commandSignalCmd) Run(ctx context.Context, parent *CommandCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.SignalCommand(ctx, c.Session, c.Command, c.Signal); err != nil {
		return err
	}
	return out.Report(named{string(c.Command)}, "command %s: got the signal %s", c.Command, c.Signal)
}

type commandEndCmd struct {
	oneCommand `embed:""`
}

// Run ends a command.
func (c *commandEndCmd) Run(ctx context.Context, parent *CommandCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.EndCommand(ctx, c.Session, c.Command); err != nil {
		return err
	}
	return out.Result(named{string(c.Command)}, string(c.Command))
}
