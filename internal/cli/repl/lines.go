package repl

import (
	"context"
	"io"
	"strings"

	"cellhold/internal/cli/answer"
	"cellhold/internal/cli/console"

	"golang.org/x/term"
)

// saveTerminal returns a function that restores the present state of a terminal.
func saveTerminal(in io.Reader) (restore func()) {
	f := console.InputTerminal(in)
	if f == nil {
		return func() {}
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }
}

// plain reads code without a line editor: from a pipe, or from a terminal that cannot move its cursor. Each line of a
// terminal is a cell. All lines of a pipe are pieces of code that end at an empty line.
type plain struct {
	lines    *answer.Lines
	out      io.Writer
	terminal bool
}

func (p *plain) code(ctx context.Context, prompt string) (string, error) {
	if p.terminal {
		if _, err := io.WriteString(p.out, prompt); err != nil {
			return "", err
		}
		return p.lines.Next(ctx)
	}
	var code strings.Builder
	for {
		line, err := p.lines.Next(ctx)
		switch {
		case err == io.EOF && code.Len() > 0:
			return code.String(), nil
		case err != nil:
			return "", err
		case line == "" && code.Len() > 0 || code.Len() == 0 && strings.HasPrefix(line, "%"):
			return code.String() + line, nil
		}
		code.WriteString(line + "\n")
	}
}
