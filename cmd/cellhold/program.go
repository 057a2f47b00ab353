package main

import (
	"cellhold"
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

// workspace is where a session's code is at the beginning.
const workspace = "/workspace"

// aids is the folder in the sandbox of what a script runs with. A test has its own.
var aids = "/tmp/.cellhold"

// hook is loaded by every Python that the script starts. Without it, the script is a program like any other.
//
//go:embed hook.py
var hook string

// lastWords is how long a script may go on after it was interrupted at its deadline, for what it has not written
// yet and for its files.
const lastWords = 5 * time.Second

// exitPipe is the exit status of a program whose reader has gone away.
const exitPipe = 128 + int(syscall.SIGPIPE)

// runProgram runs the script as a program: with our input, output and signals, and its own exit status. A
// kernel has none of these; see docs/decisions/0024-run-is-a-program.md.
func (s *script) runProgram(ctx context.Context) error {
	folder, figures := path.Join(aids, "python"), path.Join(aids, "figures")
	for _, dir := range []string{folder, figures} {
		if err := s.client.MakeDir(ctx, s.session, dir); err != nil {
			return err
		}
	}
	if _, err := s.client.WriteFile(ctx, s.session, path.Join(folder, "sitecustomize.py"), strings.NewReader(hook), 0o644); err != nil {
		return err
	}
	run := s.source.command()
	run.Timeout, run.Env = s.timeout+lastWords, map[string]string{"PYTHONPATH": folder, "CELLHOLD_FIGURES": figures}
	if isTerminal(s.term.out) {
		run.Env["CELLHOLD_WATCHED"] = "1"
	}
	x := &execution{client: s.client, session: s.session, terminal: s.term}
	if s.talks() {
		size := x.size()
		// What moves the cursor does not reach our terminal: see screen.
		run.Terminal, run.Env["TERM"] = &size, "dumb"
	}
	command, err := s.client.StartCommand(ctx, s.session, run)
	if err != nil {
		return err
	}
	x.command = command
	restore, err := x.raw()
	if err != nil {
		return err
	}
	defer restore()
	pass := interrupter(func(ctx context.Context, sig syscall.Signal) error {
		return s.client.SignalCommand(ctx, s.session, command.ID, cellhold.SignalName(int(sig)))
	})
	s.running.Store(&pass)
	deadline := time.AfterFunc(s.timeout, func() {
		s.late.Store(true)
		_ = pass(ctx, syscall.SIGINT) // the deadline of the command itself follows
	})
	defer deadline.Stop()
	// The input outlives the script where it never ends, and nobody waits for it: a read cannot be ended,
	// and this program ends soon.
	go s.feed(ctx, command.ID)
	go s.resize(ctx, x)
	return s.watch(ctx, command, restore)
}

// resize keeps the size of the script's terminal that of ours, as long as this program runs.
func (s *script) resize(ctx context.Context, x *execution) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-changed:
			x.resize(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// talks reports whether somebody sits at a terminal and talks with the script: then it has one too, so that
// questions, secrets and Ctrl-C work as with python.
func (s *script) talks() bool {
	return s.source.path != stdinName && inputTerminal(s.term.in) != nil && isTerminal(s.term.out) && isTerminal(s.term.err)
}

// feed passes our input on to the script.
func (s *script) feed(ctx context.Context, id cellhold.CommandID) {
	err := s.client.Feed(ctx, s.session, id, &input{from: s.term.in, show: s.show})
	if err != nil && ctx.Err() == nil && cellhold.KindOf(err) != cellhold.NotFound { // the session has ended
		_ = s.show.note("the input did not reach the script: %v", plainly(err))
	}
}

// input is our standard input. Where it cannot be read it is at its end, or a script would wait for ever.
type input struct {
	from io.Reader
	show *show
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
		case errors.Is(err, syscall.EIO) && inputTerminal(in.from) != nil:
			// The terminal belongs to another job until this one is called to the foreground.
			awaitForeground()
		default:
			_ = in.show.note("standard input cannot be read: %v", err)
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

// watch shows what the script writes until it is done; then our terminal is ours again.
func (s *script) watch(ctx context.Context, command cellhold.Command, restore func()) error {
	left := false // the reader of our output has gone
	for e, err := range s.client.WatchCommand(ctx, s.session, command.ID, command.First-1) {
		if err != nil {
			return err
		}
		if e.Type == cellhold.EventCommandDone {
			restore()
			if err := s.show.commandDone(e, left); err != nil || !s.late.Load() || left {
				return err
			}
			s.show.exit = exitTimeout
			return s.show.note("the script did not end by itself: stopped at its deadline of %v", s.timeout)
		}
		if left {
			continue
		}
		err := s.show.command(e)
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

// command shows one event of a program that is not its end.
func (s *show) command(e cellhold.Event) error {
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

// commandDone notes how a program ended.
func (s *show) commandDone(e cellhold.Event, left bool) error {
	var d cellhold.CommandDoneContent
	if err := e.Decode(&d); err != nil {
		return err
	}
	s.exit = d.Code
	switch d.Status {
	case cellhold.CommandTimeout:
		s.exit = exitTimeout
	case cellhold.CommandLost:
		s.exit = exitFailed
	case cellhold.CommandOOM:
		s.exit = exitKilled
	}
	if left {
		s.exit = exitPipe
		return nil
	}
	if d.Cause == "" || d.Status == cellhold.CommandTimeout { // the caller says so

		return nil
	}
	return s.note("the script did not end by itself: %s", d.Cause)
}

// figureEndings are the files that the hook leaves for us.
var figureEndings = []string{".png", ".jpg", ".svg", ".pdf", ".html"}

// maxFigureFiles is the most files that are looked at for figures; the hook makes one for each.
const maxFigureFiles = 2 * maxFigures

// figures saves the figures that a program has shown. They are files of the guest: only their bytes count.
func (s *script) figures(ctx context.Context) error {
	if s.source.notebook() {
		return nil
	}
	list, more, err := s.client.ListDirUpTo(ctx, s.session, path.Join(aids, "figures"), maxFigureFiles)
	if err != nil && cellhold.KindOf(err) == cellhold.NotFound { // the script removed it
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
			if err := s.show.note("a figure has %d bytes, which is too many; it is not saved", f.Size); err != nil {
				return err
			}
			continue
		}
		if err := s.figure(ctx, path.Join(aids, "figures", path.Base(f.Exact())), ending); err != nil || s.show.full {
			return err
		}
	}
	if more {
		return s.show.note("further figures are not saved: there are more than %d files of them", maxFigureFiles)
	}
	return nil
}

func (s *script) figure(ctx context.Context, from, ending string) error {
	r, err := s.client.ReadFile(ctx, s.session, from)
	if err != nil {
		return err
	}
	defer r.Close()
	at, err := s.show.figures.saveFrom(ending, r)
	return s.show.saved(at, err)
}
