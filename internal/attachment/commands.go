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

// CommandRequest asks for one command: a line for a shell, or a program with its arguments.
type CommandRequest struct {
	Line     string
	Args     []string
	Env      map[string]string  // added to the environment of every command; not recorded
	Dir      string             // empty: /workspace; relative paths begin there
	Timeout  time.Duration      // 0: the server's default; with a terminal, the longest
	Terminal *cellhold.Terminal // nil: no terminal
}

// StartCommand starts a command and returns it. The command runs on when the caller leaves.
func (a *Attachment) StartCommand(ctx context.Context, r CommandRequest) (cellhold.Command, error) {
	if err := r.check(); err != nil {
		return cellhold.Command{}, err
	}
	if r.Timeout == 0 {
		r.Timeout = a.o.CommandTimeout
		if r.Terminal != nil { // a person uses it
			r.Timeout = a.o.MaxCommandTimeout
		}
	}
	if r.Timeout < 0 || r.Timeout > a.o.MaxCommandTimeout {
		return cellhold.Command{}, cellhold.Errorf(cellhold.Invalid, "The timeout %s is not valid: it must be between 0 (the default) and %s.", r.Timeout, a.o.MaxCommandTimeout)
	}
	if r.Dir != "" && !path.IsAbs(r.Dir) {
		r.Dir = path.Join(guestapi.WorkDir, r.Dir)
	}
	a.used()
	c, err := a.followers.commands.Start(ctx, record.Command{Timeout: r.Timeout,
		Command: cellhold.Command{ID: cellhold.NewCommandID(), Line: r.Line, Args: r.Args, Dir: r.Dir, Terminal: r.Terminal}}, r.Env)
	return c.Command, err
}

var errZeroByte = cellhold.Errorf(cellhold.Invalid, "A command, its arguments and its variables cannot have a zero byte.")

// check refuses a command that no sandbox could start.
func (r CommandRequest) check() error {
	if (r.Line == "") == (len(r.Args) == 0) || len(r.Args) > 0 && r.Args[0] == "" {
		return cellhold.Errorf(cellhold.Invalid, "Give either command, one line for a shell, or args, a program with its arguments.")
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
			return cellhold.Errorf(cellhold.Invalid, "The name of the variable %.40q is not valid: it must not be empty, and must have no = and no zero byte.", name)
		}
		if strings.ContainsRune(value, 0) {
			return errZeroByte
		}
	}
	if longest > guestapi.MaxArg || size > guestapi.MaxArgs || count > guestapi.MaxArgCount {
		return cellhold.Errorf(cellhold.Invalid, "The command is too long: one argument or variable may have %d bytes, all together %d, and there may be %d. Send more through its standard input.",
			guestapi.MaxArg, guestapi.MaxArgs, guestapi.MaxArgCount)
	}
	return nil
}
