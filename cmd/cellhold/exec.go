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

// exitTrouble is the exit status when the session or the server failed and the command's own status is unknown.
// docker and env use 125 in the same way.
const exitTrouble = 125

// execCmd runs a command in a session of a server.
type execCmd struct {
	serverFlags `embed:""`

	Tty         bool          `help:"Give the command a terminal. This is the default if input and output are terminals." short:"t"`
	NoTty       bool          `help:"Give the command no terminal." short:"T"`
	Interactive bool          `help:"No effect: input is always passed on." short:"i" hidden:""`
	Detach      bool          `help:"Print the command's id and leave it running." short:"d"`
	Attach      string        `help:"Attach to this running command and print its output from the start." placeholder:"ID"`
	Env         []string      `help:"Environment variable of the command; may be repeated." short:"e" placeholder:"NAME=VALUE" sep:"none"`
	Cwd         string        `help:"Working directory of the command." short:"w" placeholder:"DIR"`
	Timeout     time.Duration `help:"End the command after this time. 0: default (set by the server)." default:"0s"`

	Session string   `arg:"" help:"Session id."`
	Command []string `arg:"" optional:"" passthrough:"" help:"Program and its arguments. One argument with spaces is run by a shell."`
}

// Help is shown below the list of flags.
func (execCmd) Help() string {
	return "The exit status is that of the command. Other statuses: 124 (timeout), 125 (cellhold failed), 126 (the program cannot be run), 127 (the program was not found). " +
		"A broken connection is resumed. If cellhold exec ends first, the command continues."
}

// Run runs the command and ends with its exit status.
func (c *execCmd) Run(ctx context.Context, all *globals, t *terminal) error {
	remote, err := c.connect(all.Home)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, obeyed(syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGWINCH, syscall.SIGHUP)...)
	defer signal.Stop(signals)
	// From here on, signals belong to the command: see execution.obey.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	x := &execution{commandTerminal{client: remote, session: cellhold.SessionID(c.Session), terminal: t}, signals, cancel}
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

// begin starts the command, or finds the running command of --attach.
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
			value = os.Getenv(name) // as with docker: a name alone takes the value of our environment
		}
		r.Env[name] = value
	}
	command, err := x.client.StartCommand(ctx, x.session, r)
	if err == nil && c.Detach {
		fmt.Fprintln(x.terminal.out, command.ID)
	}
	return command, err
}

// commandTerminal is our terminal as that of a command in a session.
type commandTerminal struct {
	client   *client.Client
	session  cellhold.SessionID
	command  cellhold.Command
	terminal *terminal
}

// execution is a command in a session, connected to this terminal.
type execution struct {
	commandTerminal
	signals <-chan os.Signal
	end     context.CancelCauseFunc
}

// run passes input, output and signals until the command ends.
func (x *execution) run(ctx context.Context) (err error) {
	restore, err := x.raw()
	if err != nil {
		return err
	}
	defer restore()
	// run does not wait for these two goroutines: a read from a terminal cannot be stopped. The program ends soon
	// after the command.
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

// raw sets our terminal to raw mode, so that every key goes to the command, Ctrl-C included.
func (x *commandTerminal) raw() (restore func(), err error) {
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

// feed passes our input to the command.
func (x *execution) feed(ctx context.Context) {
	if x.terminal.in == nil {
		return
	}
	if err := x.client.Feed(ctx, x.session, x.command.ID, x.terminal.in); err != nil && ctx.Err() == nil {
		fmt.Fprintf(x.terminal.err, "cellhold: input: %v\n", plainly(err))
	}
}

// patience is the number of Ctrl-C that go to the command. The next Ctrl-C ends this program.
const patience = 2

// obey passes signals to the command, up to the limit of patience.
func (x *execution) obey(ctx context.Context) {
	interrupts := 0
	if x.command.Terminal != nil {
		x.resize(ctx) // another client may have set the size
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
			case sig == syscall.SIGHUP: // our terminal is closed; the command continues
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

// size returns the size of our terminal.
func (x *commandTerminal) size() cellhold.Terminal {
	for _, s := range []any{x.terminal.out, x.terminal.in} {
		if f, ok := s.(*os.File); ok {
			if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && rows > 0 && cols > 0 {
				return cellhold.Terminal{Rows: min(rows, 1000), Cols: min(cols, 1000)}
			}
		}
	}
	return cellhold.Terminal{Rows: 24, Cols: 80} // the usual default of programs
}

// resize sets the command's terminal to our size. A failure is ignored.
func (x *commandTerminal) resize(ctx context.Context) {
	if x.command.Terminal != nil && isTerminal(x.terminal.out) {
		_ = x.client.ResizeCommand(ctx, x.session, x.command.ID, x.size())
	}
}

// writers returns the writers of the command's two streams. A command with a terminal controls our terminal, as with
// ssh. Without one, a terminal gets harmless text only; files and pipes get all bytes.
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

// screenWriter is a screen that takes bytes.
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

// done turns the end of the command into our exit status.
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
