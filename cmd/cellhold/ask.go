package main

import (
	"bufio"
	"cellhold"
	"cellhold/client"
	"context"
	"os"
	"strings"

	"golang.org/x/term"
)

// asker answers a script's input() from our terminal.
type asker struct {
	terminal *os.File      // nil when there is none to ask at
	lines    *bufio.Reader // of it
	state    *term.State   // before anything was hidden
}

func newAsker(terminal *os.File) *asker {
	if terminal == nil {
		return &asker{}
	}
	state, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return &asker{}
	}
	return &asker{terminal: terminal, lines: bufio.NewReader(terminal), state: state}
}

// restore shows again what is typed: the script may have ended while a password was asked for.
func (a *asker) restore() {
	if a.terminal != nil {
		_ = term.Restore(int(a.terminal.Fd()), a.state) // the terminal may be gone, and so is its reader
	}
}

// endOfInput is what Jupyter kernels take for the end of the input, and raise EOFError.
const endOfInput = "\x04"

// answer asks at the terminal and gives the cell what is typed. Nobody waits for it: a read from a
// terminal cannot be ended, and the program ends soon after the script.
func (a *asker) answer(ctx context.Context, c *client.Client, cell cellhold.Cell, e cellhold.Event, s *show) error {
	var q cellhold.InputRequestContent
	if err := e.Decode(&q); err != nil {
		return err
	}
	if _, err := s.out.WriteString(q.Prompt); err != nil {
		return err
	}
	go func() {
		value, err := a.read(q.Password)
		if err != nil {
			value = endOfInput
		}
		if err := c.Answer(ctx, cell.Session, cell.ID, e.Seq, value); err != nil && ctx.Err() == nil && cellhold.KindOf(err) != cellhold.Conflict {
			_ = s.note("the input did not reach the script: %s", plainly(err))
		}
	}()
	return nil
}

// read reads a line without its end.
func (a *asker) read(hidden bool) (string, error) {
	if hidden {
		b, err := term.ReadPassword(int(a.terminal.Fd()))
		if err == nil {
			_, err = a.terminal.WriteString("\n") // which was not shown either
		}
		return string(b), err
	}
	line, err := a.lines.ReadString('\n')
	if err != nil && line == "" {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
