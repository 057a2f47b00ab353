package attachment

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// CommandRequest describes a command: a shell line, or a program with its arguments.
type CommandRequest struct {
	Line     string
	Args     []string
	Env      map[string]string  // variables to add to the environment; not recorded
	Dir      string             // absolute, or relative to the session's directory; empty: that directory
	Tag      string             // label of the caller
	NoInput  bool               // the standard input ends at once
	Timeout  time.Duration      // 0: the server's default; with a terminal, the maximum
	Terminal *cellhold.Terminal // nil: no terminal
}

// StartCommand starts a command and returns it. The command continues if the caller disconnects.
func (a *Attachment) StartCommand(ctx context.Context, r CommandRequest) (cellhold.Command, error) {
	if err := r.Check(); err != nil {
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
	if !path.IsAbs(r.Dir) && (r.Dir != "" || a.o.Dir != "") {
		r.Dir = path.Join(cmp.Or(a.o.Dir, guestapi.WorkDir), r.Dir)
	}
	a.used()
	commands := a.followers.commands
	c, err := commands.Start(ctx, record.Command{Timeout: r.Timeout,
		Command: cellhold.Command{ID: cellhold.NewCommandID(), Line: r.Line, Args: r.Args, Dir: r.Dir, Tag: r.Tag, Terminal: r.Terminal}}, a.environment(r.Env))
	if err == nil && r.NoInput {
		err = a.endInput(ctx, c.ID)
	}
	return c.Command, err
}

// endInputTime limits endInput.
const endInputTime = 30 * time.Second

// endInput ends the input of a new command, also if its caller has left. If it cannot, it ends the command, which
// could wait for input until its timeout.
func (a *Attachment) endInput(ctx context.Context, id cellhold.CommandID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endInputTime)
	defer cancel()
	_, err := a.followers.commands.Input(ctx, id, nil, 0, true)
	if err == nil || cellhold.KindOf(err) == cellhold.Conflict { // it has ended
		return nil
	}
	return errors.Join(err, a.followers.commands.Kill(ctx, id))
}

// environment adds the variables of a command to those of the session.
func (a *Attachment) environment(own map[string]string) map[string]string {
	if len(a.o.Env) == 0 {
		return own
	}
	all := maps.Clone(a.o.Env)
	maps.Copy(all, own)
	return all
}

// maxTag is the maximum size of a command's label.
const maxTag = 256

var errZeroByte = cellhold.Errorf(cellhold.Invalid, "The command has a zero byte: remove it from the line, the arguments and the variables.")

// Check refuses a command that cannot be started.
func (r CommandRequest) Check() error {
	if (r.Line == "") == (len(r.Args) == 0) || len(r.Args) > 0 && r.Args[0] == "" {
		return cellhold.Errorf(cellhold.Invalid, "Send either command, a shell line, or args, a program with its arguments.")
	}
	if strings.ContainsRune(r.Line+r.Dir, 0) {
		return errZeroByte
	}
	if len(r.Tag) > maxTag || !utf8.ValidString(r.Tag) || strings.ContainsFunc(r.Tag, unicode.IsControl) {
		return cellhold.Errorf(cellhold.Invalid, "Invalid tag %.40q: use UTF-8 text of at most %d bytes without control characters.", r.Tag, maxTag)
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
