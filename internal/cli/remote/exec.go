package remote

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// ExecCmd runs a command in a session of a server.
type ExecCmd struct {
	printing `embed:""`

	Tty         bool          `help:"Give the command a terminal. This is the default if input and output are terminals." short:"t"`
	NoTty       bool          `help:"Give the command no terminal." short:"T"`
	Interactive bool          `help:"No effect: input is always passed on." short:"i" hidden:""`
	Detach      bool          `help:"Print the command's id and leave it running." short:"d"`
	Attach      string        `help:"Attach to this running command and print its output from the start." placeholder:"ID"`
	Env         []string      `help:"Environment variable of the command; can be repeated." short:"e" placeholder:"NAME=VALUE" sep:"none"`
	Cwd         string        `help:"Working directory of the command." short:"w" placeholder:"DIR"`
	Timeout     time.Duration `help:"End the command after this time. 0: default (set by the server)." default:"0s"`

	Session string   `arg:"" help:"Session id." predictor:"session"`
	Command []string `arg:"" optional:"" passthrough:"" help:"Program and its arguments. One argument with spaces is run by a shell."`
}

// Help is shown below the list of flags.
func (ExecCmd) Help() string {
	return "The exit status is that of the command. Other statuses: 124 (timeout), 125 (cellhold failed), 126 (the program cannot be run), 127 (the program was not found). " +
		"A broken connection is resumed. If cellhold exec ends first, the command continues."
}

// Run runs the command and ends with its exit status.
func (c *ExecCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	if c.JSON && !c.Detach {
		return console.Usage(errors.New("--json needs --detach: without it, the output is that of the command; cellhold command show has its result as JSON"))
	}
	remote, err := c.connect(all.Home)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, console.Handled(syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGWINCH, syscall.SIGHUP)...)
	defer signal.Stop(signals)
	// From here on, signals belong to the command: see execution.handleSignals.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	x := &execution{CommandTerminal{Client: remote, Session: cellhold.SessionID(c.Session), Terminal: t}, signals, cancel}
	if x.Command, err = c.begin(ctx, x); err == nil && !c.Detach {
		err = x.run(ctx)
	}
	if exit, ok := errors.AsType[console.ExitError](context.Cause(ctx)); ok {
		return exit
	}
	if err != nil {
		if _, ok := errors.AsType[console.ExitError](err); ok {
			return err
		}
		fmt.Fprintf(t.Err, "cellhold: %s\n", console.Sentence(err))
		return console.ExitError(console.ExitUnknown)
	}
	return nil
}

// begin starts the command, or finds the running command of --attach.
func (c *ExecCmd) begin(ctx context.Context, x *execution) (cellhold.Command, error) {
	if c.Attach != "" {
		return x.Client.Command(ctx, x.Session, cellhold.CommandID(c.Attach))
	}
	r := client.Run{Args: console.WithoutMark(c.Command), Dir: c.Cwd, Timeout: c.Timeout, Env: map[string]string{}}
	if len(r.Args) == 0 {
		return cellhold.Command{}, errors.New("name a command to run: cellhold exec SESSION -- ls -l")
	}
	if len(r.Args) == 1 && strings.ContainsAny(r.Args[0], " \t\n") {
		r.Line, r.Args = r.Args[0], nil
	}
	if c.Tty || !c.NoTty && !c.Detach && console.IsTerminal(x.Terminal.Out) && console.InputTerminal(x.Terminal.In) != nil {
		size := x.Size()
		r.Terminal = &size
		if kind := x.Terminal.Getenv("TERM"); kind != "" {
			r.Env["TERM"] = kind
		}
	}
	maps.Copy(r.Env, environment(c.Env, x.Terminal))
	command, err := x.Client.StartCommand(ctx, x.Session, r)
	if err == nil && c.Detach {
		err = console.Printer{Format: c.Format, Out: x.Terminal.Out}.Result(command, string(command.ID))
	}
	return command, err
}

// CommandTerminal connects our terminal with the terminal of a command in a session.
type CommandTerminal struct {
	Client   *client.Client
	Session  cellhold.SessionID
	Command  cellhold.Command
	Terminal *console.Terminal
}

// execution is a command in a session, connected to this terminal.
type execution struct {
	CommandTerminal
	signals <-chan os.Signal
	end     context.CancelCauseFunc
}

// run passes input, output and signals until the command ends.
func (x *execution) run(ctx context.Context) (err error) {
	restore, err := x.MakeRaw()
	if err != nil {
		return err
	}
	defer restore()
	// run does not wait for these two goroutines: a read from a terminal cannot be stopped. The program ends soon
	// after the command.
	go x.feed(ctx)
	go x.handleSignals(ctx)
	out, errOut := x.writers()
	end := func() { // a closed terminal has no colours
		_, _ = ended(out), ended(errOut)
	}
	defer end()
	for e, err := range x.Client.WatchCommand(ctx, x.Session, x.Command.ID, x.Command.First-1) {
		if err != nil {
			return err
		}
		switch e.Type {
		case cellhold.EventStream:
			err = pass(e, out, errOut)
		case cellhold.EventOutputDropped:
			var d cellhold.OutputDroppedContent
			if err = e.Decode(&d); err == nil {
				end()
				fmt.Fprintf(x.Terminal.Err, "cellhold: %d bytes of output were dropped here\n", d.Bytes)
			}
		case cellhold.EventCommandDone:
			restore()
			end()
			return x.done(e)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the session ended before the command did")
}

// MakeRaw sets our terminal to raw mode, so that every key goes to the command, Ctrl-C included.
func (x *CommandTerminal) MakeRaw() (restore func(), err error) {
	f := console.InputTerminal(x.Terminal.In)
	if f == nil || x.Command.Terminal == nil {
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
	if x.Terminal.In == nil {
		return
	}
	if err := x.Client.Feed(ctx, x.Session, x.Command.ID, x.Terminal.In); err != nil && ctx.Err() == nil {
		fmt.Fprintf(x.Terminal.Err, "cellhold: input: %s\n", console.Sentence(err))
	}
}

// maxInterrupts is the number of Ctrl-C that go to the command. The next Ctrl-C ends this program.
const maxInterrupts = 2

// handleSignals passes signals to the command. It ends this program after maxInterrupts interrupts.
func (x *execution) handleSignals(ctx context.Context) {
	interrupts := 0
	if x.Command.Terminal != nil {
		x.Resize(ctx) // another client may have set the size
	}
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-x.signals:
			sig := s.(syscall.Signal)
			switch {
			case sig == syscall.SIGWINCH:
				x.Resize(ctx)
				continue
			case sig == syscall.SIGHUP: // our terminal is closed; the command continues
				x.end(console.ExitError(128 + int(sig)))
				return
			case sig == syscall.SIGINT:
				interrupts++
			}
			var err error
			if interrupts <= maxInterrupts {
				err = x.Client.SignalCommand(ctx, x.Session, x.Command.ID, cellhold.SignalName(int(sig)))
			}
			if err != nil && cellhold.KindOf(err) != cellhold.Conflict || interrupts > maxInterrupts {
				x.end(console.ExitError(128 + int(sig)))
				return
			}
		}
	}
}

// Size returns the size of our terminal.
func (x *CommandTerminal) Size() cellhold.Terminal {
	for _, s := range []any{x.Terminal.Out, x.Terminal.In} {
		if f, ok := s.(*os.File); ok {
			if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && rows > 0 && cols > 0 {
				return cellhold.Terminal{Rows: min(rows, 1000), Cols: min(cols, 1000)}
			}
		}
	}
	return cellhold.Terminal{Rows: 24, Cols: 80} // the usual default of programs
}

// Resize sets the command's terminal to our size. A failure is ignored.
func (x *CommandTerminal) Resize(ctx context.Context) {
	if x.Command.Terminal != nil && console.IsTerminal(x.Terminal.Out) {
		_ = x.Client.ResizeCommand(ctx, x.Session, x.Command.ID, x.Size())
	}
}

// writers returns the writers of the command's two streams. A command with a terminal controls our terminal, as with
// ssh. If the command has no terminal, our terminal gets only harmless text. Files and pipes get all bytes.
func (x *execution) writers() (out, errOut io.Writer) {
	out, errOut = x.Terminal.Out, x.Terminal.Err
	if x.Command.Terminal != nil {
		return out, errOut
	}
	if console.IsTerminal(out) {
		out = screenWriter{&console.Screen{W: out, Mono: !x.Terminal.Colours(out)}}
	}
	if console.IsTerminal(errOut) {
		errOut = screenWriter{&console.Screen{W: errOut, Mono: !x.Terminal.Colours(errOut)}}
	}
	return out, errOut
}

// screenWriter is a screen that takes bytes.
type screenWriter struct{ *console.Screen }

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
		exit = console.ExitTimeout
	case cellhold.CommandLost:
		exit = console.ExitUnknown
	case cellhold.CommandOOM:
		exit = console.ExitKilled
	}
	if d.Cause != "" {
		cause := &console.Screen{W: x.Terminal.Err, Mono: true}
		if _, err := cause.WriteString("cellhold: " + d.Cause + "\n"); err != nil {
			return err
		}
	}
	if exit == console.ExitOK {
		return nil
	}
	return console.ExitError(exit)
}
