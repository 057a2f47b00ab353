package attachment

import (
	"context"
	"path"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// CommandRequest describes a command: a shell line, or a program with its arguments.
type CommandRequest struct {
	Line     string
	Args     []string
	Env      map[string]string  // variables to add to the environment; not recorded
	Dir      string             // absolute, or relative to /workspace; empty: /workspace
	Timeout  time.Duration      // 0: the server's default; with a terminal, the maximum
	Terminal *cellhold.Terminal // nil: no terminal
}

// StartCommand starts a command and returns it. The command continues if the caller disconnects.
func (a *Attachment) StartCommand(ctx context.Context, r CommandRequest) (cellhold.Command, error) {
	if err := r.check(); err != nil {
		return cellhold.Command{}, err
	}
	if r.Timeout == 0 {
		r.Timeout = a.o.CommandTimeout
		if r.Terminal != nil { // a person uses the terminal
			r.Timeout = a.o.MaxCommandTimeout
		}
	}
	if r.Timeout < 0 || r.Timeout > a.o.MaxCommandTimeout {
		return cellhold.Command{}, cellhold.Errorf(cellhold.Invalid, "Invalid timeout %s: use 0 (the default) to %s.", r.Timeout, a.o.MaxCommandTimeout)
	}
	if r.Dir != "" && !path.IsAbs(r.Dir) {
		r.Dir = path.Join(guestapi.WorkDir, r.Dir)
	}
	a.used()
	c, err := a.followers.commands.Start(ctx, record.Command{Timeout: r.Timeout,
		Command: cellhold.Command{ID: cellhold.NewCommandID(), Line: r.Line, Args: r.Args, Dir: r.Dir, Terminal: r.Terminal}}, r.Env)
	return c.Command, err
}

var errZeroByte = cellhold.Errorf(cellhold.Invalid, "The command has a zero byte: remove it from the line, the arguments and the variables.")

// check refuses a command that cannot be started.
func (r CommandRequest) check() error {
	if (r.Line == "") == (len(r.Args) == 0) || len(r.Args) > 0 && r.Args[0] == "" {
		return cellhold.Errorf(cellhold.Invalid, "Send either command, a shell line, or args, a program with its arguments.")
	}
	if strings.ContainsRune(r.Line+r.Dir, 0) {
		return errZeroByte
	}
	size, count := len(r.Line)+len(r.Dir), len(r.Args)+len(r.Env)
	longest := size
	for _, a := range r.Args {
		size, longest = size+len(a), max(longest, len(a))
		if strings.ContainsRune(a, 0) {
			return errZeroByte
		}
	}
	for name, value := range r.Env {
		n := len(name) + len(value) + 1
		size, longest = size+n, max(longest, n)
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return cellhold.Errorf(cellhold.Invalid, "Invalid variable name %.40q: use a name without = and zero bytes.", name)
		}
		if strings.ContainsRune(value, 0) {
			return errZeroByte
		}
	}
	if longest > guestapi.MaxArg || size > guestapi.MaxArgs || count > guestapi.MaxArgCount {
		return cellhold.Errorf(cellhold.Invalid, "The command is too long: the limits are %d bytes for an argument or variable, %d bytes for all, and %d items. Send more data through the standard input.",
			guestapi.MaxArg, guestapi.MaxArgs, guestapi.MaxArgCount)
	}
	return nil
}
