// Package repl is the interactive terminal of a session: it reads code, runs it as cells, and shows their output.
//
// It needs a client of any server. All texts of the session are untrusted: output, completions, descriptions and the
// history pass through package console before they reach the terminal. Ctrl-C interrupts the cell, and a second Ctrl-C
// leaves it running. The package starts no server.
package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/answer"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/output"
)

// REPL is one interactive terminal.
type REPL struct {
	Client   *client.Client
	Terminal *console.Terminal
	Printer  *output.Printer
	Signals  <-chan os.Signal
	Session  cellhold.SessionID
	Kernel   cellhold.KernelID // empty: the first one
	Timeout  time.Duration     // of each cell; 0: the server's default
	Private  bool              // the server ends with this process, so no cell continues
	Return   string            // command that comes back to a session, without the session

	language string
	count    int // number of the next prompt
	input    reader
	lines    *answer.Lines
}

// reader reads code and answers. It has two implementations: a line editor, and plain lines.
type reader interface {
	// code returns the next piece of code. The error is io.EOF at the end of the input, and errInterrupted after Ctrl-C.
	code(ctx context.Context, prompt string) (string, error)
}

var (
	// errInterrupted says that the user pressed Ctrl-C at the prompt.
	errInterrupted = errors.New("interrupted")
	// ErrDetached says that the user left a running cell.
	ErrDetached = errors.New("detached")
)

// questionTime limits a question about code. A person waits for the answer.
const questionTime = 6 * time.Second

// Run reads and runs code until the input ends. It returns ErrDetached if the user left a running cell, and a
// console.ExitError after a signal that ends the program.
func (r *REPL) Run(ctx context.Context) error {
	s, err := r.Client.Session(ctx, r.Session)
	if err != nil {
		return err
	}
	if err := r.enter(s); err != nil {
		return err
	}
	r.lines = answer.NewLines(r.Terminal.In)
	history := openHistory(r.Terminal.Getenv)
	defer history.close()
	if editing(r.Terminal) {
		r.input = newEditor(r, history)
	} else {
		r.input = &plain{lines: r.lines, out: r.Terminal.Out, terminal: console.InputTerminal(r.Terminal.In) != nil}
	}
	r.recall(ctx, history)
	for {
		code, err := r.read(ctx)
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if strings.TrimSpace(code) == "" {
			continue
		}
		if word := strings.TrimSpace(code); word == "exit" || word == "quit" {
			return nil
		}
		if err := r.do(ctx, code); err != nil {
			return err
		}
	}
}

// enter takes over a session: its first kernel, or the chosen one.
func (r *REPL) enter(s cellhold.Session) error {
	if s.State == cellhold.SessionEnded {
		return fmt.Errorf("session %s has ended: create one, or see cellhold session ls", s.ID)
	}
	for _, k := range s.Kernels {
		if r.Kernel == "" || r.Kernel == k.ID {
			r.Session, r.language, r.count = s.ID, k.Language, 1
			return nil
		}
	}
	return fmt.Errorf("session %s has no kernel %q", s.ID, r.Kernel)
}

// recall adds the code of the session to the history, so that a person can continue the work of an agent.
func (r *REPL) recall(ctx context.Context, h *history) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	list, err := r.Client.History(ctx, r.Session, r.Kernel, 0)
	if err != nil {
		return // an older server has no history
	}
	for _, entry := range list {
		h.add(entry.Code)
		r.count = max(r.count, entry.ExecutionCount+1)
	}
}

// read reads code. A signal ends the program: the goroutine that reads then ends with the process, because a read from a
// terminal cannot be cancelled.
func (r *REPL) read(ctx context.Context) (string, error) {
	type result struct {
		code string
		err  error
	}
	got := make(chan result, 1)
	restore := saveTerminal(r.Terminal.In)
	go func() {
		code, err := r.input.code(ctx, fmt.Sprintf("In [%d]: ", r.count))
		got <- result{code, err}
	}()
	for {
		select {
		case g := <-got:
			return g.code, g.err
		case <-ctx.Done():
			restore()
			return "", ctx.Err()
		case s := <-r.Signals:
			if s == syscall.SIGINT {
				if _, isPlain := r.input.(*plain); isPlain {
					_ = r.Printer.Note("press Ctrl-D to leave") // the read continues
				}
				continue
			}
			restore()
			return "", console.ExitError(128 + int(s.(syscall.Signal)))
		}
	}
}

// do runs a command of the prompt, a question about an object, or a cell.
func (r *REPL) do(ctx context.Context, code string) error {
	if name, rest, ok := magic(code); ok {
		return r.report(ctx, magics[name].run(ctx, r, rest))
	}
	if name, detail, ok := question(code); ok {
		return r.report(ctx, r.describe(ctx, name, detail))
	}
	return r.report(ctx, r.run(ctx, code))
}

// report prints an error of one step, so that the prompt comes again. It returns errors that end the program.
func (r *REPL) report(ctx context.Context, err error) error {
	_, exit := errors.AsType[console.ExitError](err)
	if err == nil || exit || errors.Is(err, ErrDetached) || ctx.Err() != nil {
		return err
	}
	if cellhold.KindOf(err) == cellhold.NotFound {
		if s, serr := r.Client.Session(ctx, r.Session); cellhold.KindOf(serr) == cellhold.NotFound || serr == nil && s.State == cellhold.SessionEnded {
			return fmt.Errorf("session %s has ended", r.Session)
		}
	}
	return r.Printer.Note("%v", console.Message(err))
}
