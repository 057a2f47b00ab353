package script

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/remote"
	"context"
	_ "embed"
	"errors"
	"io"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// workspace is the initial working directory of a session.
const workspace = "/workspace"

// HelperDir is the folder in the sandbox for the helper files of a script. A test sets its own.
var HelperDir = "/tmp/.cellhold"

// hook is a module that every Python process of the script loads. It writes the figures that the script shows to
// files. Programs in other languages do not use it.
//
//go:embed hook.py
var hook string

// ExitGrace is the time that a script has between the interrupt at its deadline and its end, to write its remaining
// output and files.
const ExitGrace = 5 * time.Second

// exitPipe is the exit status of a program whose output is no longer read.
const exitPipe = 128 + int(syscall.SIGPIPE)

// runProgram runs the script as a program with our input, output and signals, and with its own exit status. A kernel
// has none of these; see docs/decisions/0024-run-is-a-program.md.
func (s *Script) runProgram(ctx context.Context) error {
	folder, figures := path.Join(HelperDir, "python"), path.Join(HelperDir, "figures")
	for _, dir := range []string{folder, figures} {
		if err := s.client.MakeDir(ctx, s.session, dir); err != nil {
			return err
		}
	}
	if _, err := s.client.WriteFile(ctx, s.session, path.Join(folder, "sitecustomize.py"), strings.NewReader(hook), 0o644); err != nil {
		return err
	}
	run := s.Source.command()
	run.Timeout, run.Env = s.Timeout+ExitGrace, map[string]string{"PYTHONPATH": folder, "CELLHOLD_FIGURES": figures}
	if console.IsTerminal(s.Terminal.Out) {
		run.Env["CELLHOLD_WATCHED"] = "1"
	}
	x := &remote.CommandTerminal{Client: s.client, Session: s.session, Terminal: s.Terminal}
	if s.interactive() {
		size := x.Size()
		// "dumb", because sequences that move the cursor do not reach our terminal: see console.Screen.
		run.Terminal, run.Env["TERM"] = &size, "dumb"
	}
	command, err := s.client.StartCommand(ctx, s.session, run)
	if err != nil {
		return err
	}
	x.Command = command
	restore, err := x.MakeRaw()
	if err != nil {
		return err
	}
	defer restore()
	pass := interrupter(func(ctx context.Context, sig syscall.Signal) error {
		return s.client.SignalCommand(ctx, s.session, command.ID, cellhold.SignalName(int(sig)))
	})
	s.running.Store(&pass)
	deadline := time.AfterFunc(s.Timeout, func() {
		s.late.Store(true)
		_ = pass(ctx, syscall.SIGINT) // the deadline of the command itself comes later
	})
	defer deadline.Stop()
	// feed can still wait for input when the script has ended. runProgram does not wait for feed: a read cannot be
	// stopped, and this program ends soon.
	go s.feed(ctx, command.ID)
	go s.resize(ctx, x)
	return s.watch(ctx, command, restore)
}

// resize keeps the script's terminal at the size of ours until ctx ends.
func (s *Script) resize(ctx context.Context, x *remote.CommandTerminal) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-changed:
			x.Resize(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// interactive reports whether our input and output are a terminal. Then the script gets a terminal too, so that prompts,
// passwords and Ctrl-C work as with python.
func (s *Script) interactive() bool {
	return s.Source.path != stdinName && console.InputTerminal(s.Terminal.In) != nil && console.IsTerminal(s.Terminal.Out) && console.IsTerminal(s.Terminal.Err)
}

// feed passes our input to the script.
func (s *Script) feed(ctx context.Context, id cellhold.CommandID) {
	err := s.client.Feed(ctx, s.session, id, &input{from: s.Terminal.In, printer: s.Printer})
	if err != nil && ctx.Err() == nil && cellhold.KindOf(err) != cellhold.NotFound { // NotFound: the session has ended
		_ = s.Printer.note("the input did not reach the script: %v", console.Message(err))
	}
}

// input is our standard input. If it cannot be read, it returns EOF; otherwise a script would wait forever.
type input struct {
	from    io.Reader
	printer *Printer
}

func (in *input) Read(p []byte) (int, error) {
	if in.from == nil {
		return 0, io.EOF
	}
	for {
		n, err := in.from.Read(p)
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return n, err
		case errors.Is(err, syscall.EIO) && console.InputTerminal(in.from) != nil:
			// Another job has the terminal until this one is in the foreground.
			awaitForeground()
		default:
			_ = in.printer.note("standard input cannot be read: %v", err)
			return n, io.EOF
		}
	}
}

// awaitForeground returns when this process is continued.
func awaitForeground() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	<-continued
}

// watch prints the script's output until the script is done, and then restores our terminal.
func (s *Script) watch(ctx context.Context, command cellhold.Command, restore func()) error {
	left := false // set when nothing reads our output any more
	for e, err := range s.client.WatchCommand(ctx, s.session, command.ID, command.First-1) {
		if err != nil {
			return err
		}
		if e.Type == cellhold.EventCommandDone {
			restore()
			if err := s.Printer.commandDone(e, left); err != nil || !s.late.Load() || left {
				return err
			}
			s.Printer.Exit = console.ExitTimeout
			return s.Printer.note("the script did not end by itself: stopped at its deadline of %v (--timeout)", s.Timeout)
		}
		if left {
			continue
		}
		err := s.Printer.command(e)
		if errors.Is(err, syscall.EPIPE) {
			left = true
			err = s.client.EndCommand(ctx, s.session, command.ID)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the session ended before the script did")
}

// command prints one event of a program, except its last event.
func (s *Printer) command(e cellhold.Event) error {
	switch e.Type {
	case cellhold.EventStream:
		var c cellhold.StreamContent
		if err := e.Decode(&c); err != nil {
			return err
		}
		w, text := s.out, c.Text
		if c.Name == "stderr" {
			w = s.err
		}
		if c.Data != nil {
			text = string(c.Data)
		}
		_, err := w.WriteString(text)
		return err
	case cellhold.EventOutputDropped:
		return s.dropped(e)
	}
	return nil
}

// commandDone records how a program ended.
func (s *Printer) commandDone(e cellhold.Event, left bool) error {
	var d cellhold.CommandDoneContent
	if err := e.Decode(&d); err != nil {
		return err
	}
	s.Exit = d.Code
	switch d.Status {
	case cellhold.CommandTimeout:
		s.Exit = console.ExitTimeout
	case cellhold.CommandLost:
		s.Exit = console.ExitFailed
	case cellhold.CommandOOM:
		s.Exit = console.ExitKilled
	}
	if left {
		s.Exit = exitPipe
		return nil
	}
	if d.Cause == "" || d.Status == cellhold.CommandTimeout { // the caller reports it

		return nil
	}
	return s.note("the script did not end by itself: %s", d.Cause)
}

// figureEndings are the extensions of the files that the hook saves figures to.
var figureEndings = []string{".png", ".jpg", ".svg", ".pdf", ".html"}

// maxFigureFiles bounds the files that are searched for figures. The hook creates one file for each figure.
const maxFigureFiles = 2 * maxFigures

// figures saves the figures that a program showed. The files come from the guest: only their bytes are used.
func (s *Script) figures(ctx context.Context) error {
	if s.Source.notebook() {
		return nil
	}
	list, more, err := s.client.ListDirUpTo(ctx, s.session, path.Join(HelperDir, "figures"), maxFigureFiles)
	if err != nil && cellhold.KindOf(err) == cellhold.NotFound { // the script removed the folder
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range list {
		ending := path.Ext(f.Exact())
		if f.Type != cellhold.FileRegular || !slices.Contains(figureEndings, ending) || strings.HasPrefix(path.Base(f.Exact()), ".") {
			continue
		}
		if f.Size > maxFigureBytes {
			if err := s.Printer.note("a figure has %d bytes, more than the limit of %d; it is not saved", f.Size, int64(maxFigureBytes)); err != nil {
				return err
			}
			continue
		}
		if err := s.figure(ctx, path.Join(HelperDir, "figures", path.Base(f.Exact())), ending); err != nil || s.Printer.full {
			return err
		}
	}
	if more {
		return s.Printer.note("further figures are not saved: there are more than %d files with figures", maxFigureFiles)
	}
	return nil
}

func (s *Script) figure(ctx context.Context, from, ending string) error {
	r, err := s.client.ReadFile(ctx, s.session, from)
	if err != nil {
		return err
	}
	defer r.Close()
	at, err := s.Printer.figures.saveFrom(ending, r)
	return s.Printer.saved(at, err)
}
