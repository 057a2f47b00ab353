package main

import (
	"cellhold"
	"cellhold/client"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// exitTrouble is the exit status when the command's own cannot be told: its session or server is at
// fault. Commands seldom use it, and other programs of this sort do the same.
const exitTrouble = 125

// execCmd runs a command in a session of a server.
type execCmd struct {
	URL   string `help:"The server." default:"http://127.0.0.1:5002" name:"url" placeholder:"URL"`
	Token string `help:"Token for the server; without it, the one in the home." secret:"" placeholder:"TOKEN"`

	Tty         bool          `help:"Give the command a terminal. It gets one anyway when input and output are terminals here." short:"t"`
	NoTty       bool          `help:"Give the command no terminal." short:"T"`
	Interactive bool          `help:"Does nothing: input is passed on anyway." short:"i" hidden:""`
	Detach      bool          `help:"Print the command's id and leave it running." short:"d"`
	Attach      string        `help:"Go on with this command, from the beginning of its output, instead of starting one." placeholder:"ID"`
	Env         []string      `help:"A variable for the command's environment." short:"e" placeholder:"NAME=VALUE" sep:"none"`
	Cwd         string        `help:"Where to start it." short:"w" placeholder:"DIR"`
	Timeout     time.Duration `help:"End the command after this time; without it, the server decides." default:"0s"`

	Session string   `arg:"" help:"Id of the session."`
	Command []string `arg:"" optional:"" passthrough:"" help:"The program and its arguments; one word with spaces is a line for a shell."`
}

// Help is shown below the list of flags.
func (execCmd) Help() string {
	return "Its exit status is the command's; 124 says that the deadline passed, 125 that cellhold failed, 126 and 127 that the program cannot be run or is not there. " +
		"A broken connection is taken up again; when this program ends before the command does, the command goes on."
}

// Run runs the command and ends with its exit status.
func (c *execCmd) Run(ctx context.Context, all *cli, t *terminal) error {
	remote, err := newClient(c.URL, c.Token, all.Home)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, obeyed(syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGWINCH, syscall.SIGHUP)...)
	defer signal.Stop(signals)
	// From here on a signal is the command's; see execution.obey.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	x := &execution{client: remote, session: cellhold.SessionID(c.Session), terminal: t, signals: signals, end: cancel}
	if x.command, err = c.begin(ctx, x); err == nil && !c.Detach {
		err = x.run(ctx)
	}
	if exit, ok := errors.AsType[exitError](context.Cause(ctx)); ok {
		return exit
	}
	if err != nil {
		if _, ok := errors.AsType[exitError](err); ok {
			return err
		}
		fmt.Fprintf(t.err, "cellhold: %v\n", plainly(err))
		return exitError(exitTrouble)
	}
	return nil
}

// begin starts the command, or finds the one to go on with.
func (c *execCmd) begin(ctx context.Context, x *execution) (cellhold.Command, error) {
	if c.Attach != "" {
		return x.client.Command(ctx, x.session, cellhold.CommandID(c.Attach))
	}
	r := client.Run{Args: withoutMark(c.Command), Dir: c.Cwd, Timeout: c.Timeout, Env: map[string]string{}}
	if len(r.Args) == 0 {
		return cellhold.Command{}, errors.New("name a command to run: cellhold exec SESSION -- ls -l")
	}
	if len(r.Args) == 1 && strings.ContainsAny(r.Args[0], " \t\n") {
		r.Line, r.Args = r.Args[0], nil
	}
	if c.Tty || !c.NoTty && !c.Detach && isTerminal(x.terminal.out) && inputTerminal(x.terminal.in) != nil {
		size := x.size()
		r.Terminal = &size
		if kind := os.Getenv("TERM"); kind != "" {
			r.Env["TERM"] = kind
		}
	}
	for _, v := range c.Env {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			value = os.Getenv(name) // as with docker: the name alone passes on our own
		}
		r.Env[name] = value
	}
	command, err := x.client.StartCommand(ctx, x.session, r)
	if err == nil && c.Detach {
		fmt.Fprintln(x.terminal.out, command.ID)
	}
	return command, err
}

// inputTerminal returns the terminal that is read from, nil when it is none.
func inputTerminal(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// execution is one command that is connected to this terminal.
type execution struct {
	client   *client.Client
	session  cellhold.SessionID
	command  cellhold.Command
	terminal *terminal
	signals  <-chan os.Signal
	end      context.CancelCauseFunc
}

// run passes input, output and signals until the command is done.
func (x *execution) run(ctx context.Context) (err error) {
	restore, err := x.raw()
	if err != nil {
		return err
	}
	defer restore()
	// Nobody waits for these two: a read from a terminal cannot be ended, and the program is about
	// to end when they are wanted no more.
	go x.feed(ctx)
	go x.obey(ctx)
	out, errOut := x.writers()
	for e, err := range x.client.WatchCommand(ctx, x.session, x.command.ID, x.command.First-1) {
		if err != nil {
			return err
		}
		switch e.Type {
		case cellhold.EventStream:
			err = pass(e, out, errOut)
		case cellhold.EventOutputDropped:
			var d cellhold.OutputDroppedContent
			if err = e.Decode(&d); err == nil {
				fmt.Fprintf(x.terminal.err, "cellhold: %d bytes of output were dropped here\n", d.Bytes)
			}
		case cellhold.EventCommandDone:
			restore()
			return x.done(e)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the session ended before the command did")
}

// raw makes our terminal one end of the command's: every key goes there, Ctrl-C included.
func (x *execution) raw() (restore func(), err error) {
	f := inputTerminal(x.terminal.in)
	if f == nil || x.command.Terminal == nil {
		return func() {}, nil
	}
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }, nil
}

// feed passes our input on.
func (x *execution) feed(ctx context.Context) {
	if x.terminal.in == nil {
		return
	}
	if err := x.client.Feed(ctx, x.session, x.command.ID, x.terminal.in); err != nil && ctx.Err() == nil {
		fmt.Fprintf(x.terminal.err, "cellhold: input: %v\n", plainly(err))
	}
}

// patience is how many times Ctrl-C is the command's; the next one ends this program.
const patience = 2

// obey passes signals on to the command. Whoever presses Ctrl-C again and again means us.
func (x *execution) obey(ctx context.Context) {
	interrupts := 0
	if x.command.Terminal != nil {
		x.resize(ctx) // it may be another one's size that it has
	}
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-x.signals:
			sig := s.(syscall.Signal)
			switch {
			case sig == syscall.SIGWINCH:
				x.resize(ctx)
				continue
			case sig == syscall.SIGHUP: // our terminal is gone; the command goes on
				x.end(exitError(128 + int(sig)))
				return
			case sig == syscall.SIGINT:
				interrupts++
			}
			var err error
			if interrupts <= patience {
				err = x.client.SignalCommand(ctx, x.session, x.command.ID, cellhold.SignalName(int(sig)))
			}
			if err != nil && cellhold.KindOf(err) != cellhold.Conflict || interrupts > patience {
				x.end(exitError(128 + int(sig)))
				return
			}
		}
	}
}

// size is that of our terminal.
func (x *execution) size() cellhold.Terminal {
	for _, s := range []any{x.terminal.out, x.terminal.in} {
		if f, ok := s.(*os.File); ok {
			if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && rows > 0 && cols > 0 {
				return cellhold.Terminal{Rows: min(rows, 1000), Cols: min(cols, 1000)}
			}
		}
	}
	return cellhold.Terminal{Rows: 24, Cols: 80} // what terminals once were, and programs still expect
}

// resize tells the command the size of our terminal. It is no matter when that fails.
func (x *execution) resize(ctx context.Context) {
	if x.command.Terminal != nil && isTerminal(x.terminal.out) {
		_ = x.client.ResizeCommand(ctx, x.session, x.command.ID, x.size())
	}
}

// writers are where the two streams go. A command with a terminal has ours, with all that it may do
// there, as one that ssh runs. Otherwise a terminal gets text only; files and pipes get the bytes.
func (x *execution) writers() (out, errOut io.Writer) {
	out, errOut = x.terminal.out, x.terminal.err
	if x.command.Terminal != nil {
		return out, errOut
	}
	if isTerminal(out) {
		out = screenWriter{&screen{w: out}}
	}
	if isTerminal(errOut) {
		errOut = screenWriter{&screen{w: errOut}}
	}
	return out, errOut
}

// screenWriter is a screen for bytes.
type screenWriter struct{ *screen }

func (w screenWriter) Write(b []byte) (int, error) { return w.WriteString(string(b)) }

func pass(e cellhold.Event, out, errOut io.Writer) error {
	var c cellhold.StreamContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if c.Name == "stderr" {
		out = errOut
	}
	b := c.Data
	if b == nil {
		b = []byte(c.Text)
	}
	_, err := out.Write(b)
	return err
}

// done turns the end of the command into ours.
func (x *execution) done(e cellhold.Event) error {
	var d cellhold.CommandDoneContent
	if err := e.Decode(&d); err != nil {
		return err
	}
	exit := d.Code
	switch d.Status {
	case cellhold.CommandTimeout:
		exit = exitTimeout
	case cellhold.CommandLost:
		exit = exitTrouble
	case cellhold.CommandOOM:
		exit = exitKilled
	}
	if d.Cause != "" {
		cause := &screen{w: x.terminal.err, mono: true}
		if _, err := cause.WriteString("cellhold: " + d.Cause + "\n"); err != nil {
			return err
		}
	}
	if exit == exitOK {
		return nil
	}
	return exitError(exit)
}

// withoutMark returns arguments without the -- that ends those of cellhold, which kong leaves there.
func withoutMark(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}
