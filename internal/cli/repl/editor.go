package repl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"cellhold"
	"cellhold/internal/cli/console"

	"github.com/reeflective/readline"
	"golang.org/x/term"
)

// editing reports whether a line editor can work: input and output are terminals that can move the cursor.
func editing(t *console.Terminal) bool {
	// The library uses the standard streams of the process.
	return t.In == os.Stdin && console.InputTerminal(t.In) != nil && console.IsTerminal(t.Out) && t.Getenv("TERM") != "dumb" && t.Getenv("TERM") != ""
}

// editor reads code with a line editor: several lines, history and completion.
type editor struct {
	r      *REPL
	shell  *readline.Shell
	ctx    context.Context // of the present call of code
	prompt string
	at     int // row of the cursor in the code when reserve was called last
}

func newEditor(r *REPL, h *history) *editor {
	e := &editor{r: r, shell: readline.NewShell()}
	e.shell.Prompt.Primary(func() string { // the library calls it before each update of the screen
		e.reserve()
		return r.Printer.Styled("32", e.prompt)
	})
	e.shell.Prompt.Secondary(func() string {
		return r.Printer.Styled("32", strings.Repeat(" ", max(len(e.prompt)-len("...: "), 0))+"...: ")
	})
	e.shell.History.Delete()
	e.shell.History.Add("cellhold", h)
	for _, name := range []string{"edit-command-line", "edit-and-execute-command", "vi-edit-command-line", "vi-edit-and-execute-command"} {
		delete(e.shell.Keymap.Commands(), name) // they put the code into a file that other users can name first
	}
	e.shell.AcceptMultiline = e.accept
	e.shell.Completer = e.complete
	e.shell.PasteTransformer = func(text string) string { // terminals send Enter for the ends of lines
		return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	settings := map[string]bool{
		"enable-bracketed-paste": true, // otherwise each line of pasted code would run alone
		// The library drops keys that arrive together with the terminal's answer to this question. Without an answer, it
		// waits without end. All our output ends with a line break, and reserve makes space, so the position is not needed.
		"cursor-position-probe": false,
	}
	for name, on := range settings {
		_ = e.shell.Config.Set(name, on) // fails only for values of another type
	}
	return e
}

func (e *editor) code(ctx context.Context, prompt string) (string, error) {
	e.ctx, e.prompt, e.at = ctx, prompt, 0
	e.shell.Line().Set()
	e.shell.Cursor().Set(0)
	code, err := e.shell.Readline()
	if errors.Is(err, readline.ErrInterrupt) {
		return "", errInterrupted
	}
	return code, err
}

// accept reports whether code is complete, so that Enter runs it. Otherwise the next line begins with the indent that the
// kernel asks for.
func (e *editor) accept(line []rune) bool {
	code := string(line)
	if strings.TrimSpace(code) == "" {
		return true
	}
	if _, _, ok := magic(code); ok {
		return true
	}
	if _, _, ok := question(code); ok {
		return true
	}
	ctx, cancel := context.WithTimeout(e.ctx, questionTime)
	defer cancel()
	c, err := e.r.Client.IsComplete(ctx, e.r.Session, e.r.Kernel, code)
	if err != nil || c.Status == cellhold.CodeUnknown {
		return looksComplete(code)
	}
	if c.Status == cellhold.CodeIncomplete {
		e.shell.Keys.Feed(false, []rune(c.Indent)...)
		return false
	}
	return true
}

// looksComplete decides about code if the kernel does not: because it runs a cell, or because the session is hibernated.
// An indented block ends with an empty line.
func looksComplete(code string) bool {
	lines := strings.Split(strings.TrimRight(code, " \t"), "\n")
	last := lines[len(lines)-1]
	if strings.HasSuffix(last, ":") || strings.HasSuffix(last, "\\") {
		return false
	}
	return last == "" || !strings.HasPrefix(last, " ") && !strings.HasPrefix(last, "\t")
}

// complete returns the completions at the cursor.
func (e *editor) complete(line []rune, cursor int) readline.Completions {
	before := string(line[:cursor])
	at := before[strings.LastIndexByte(before, '\n')+1:]
	if strings.TrimSpace(at) == "" {
		return readline.CompleteValues("    ") // Tab indents
	}
	if strings.HasPrefix(before, "%") && !strings.ContainsAny(before, " \n") {
		return completeMagic(before)
	}
	ctx, cancel := context.WithTimeout(e.ctx, questionTime)
	defer cancel()
	c, err := e.r.Client.Complete(ctx, e.r.Session, e.r.Kernel, string(line), cursor)
	if err != nil {
		return readline.CompleteMessage("%s", console.Printable(console.Message(err).Error()))
	}
	if c.Start > cursor || c.End < cursor {
		return readline.Completions{}
	}
	var values []readline.Completion
	for _, m := range c.Matches {
		// A name with control characters would change the screen.
		if text := console.Printable(m.Text); text == m.Text {
			values = append(values, readline.Completion{Value: text, Display: text, Description: console.Printable(m.Type)})
		}
	}
	list := readline.CompleteRaw(values)
	list.PREFIX = string(line[c.Start:cursor])
	return list
}

func completeMagic(before string) readline.Completions {
	var values []readline.Completion
	for _, name := range magicNames() {
		if strings.HasPrefix(name, before) {
			values = append(values, readline.Completion{Value: name, Display: name, Description: magics[name].help})
		}
	}
	list := readline.CompleteRaw(values)
	list.PREFIX = before
	return list
}

// describe prints the description of an object.
func (r *REPL) describe(ctx context.Context, name string, detail int) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	i, err := r.Client.Inspect(ctx, r.Session, r.Kernel, name, len([]rune(name)), detail)
	if err != nil {
		return err
	}
	text, ok := textOf(i.Data["text/plain"])
	if !i.Found || !ok {
		return fmt.Errorf("object %s not found", name)
	}
	return r.Printer.Text(text)
}

// reserve scrolls the terminal if the code, and one row below it, would not fit on the screen. The library moves the cursor
// below the code and back, which fails on the last row. The cursor is at the same character afterwards.
func (e *editor) reserve() {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || width <= 0 || height <= 1 {
		return
	}
	rows, at := e.rows(width)
	below := min(max(rows-e.at, 0)+1, height-1)
	e.at = at
	_, _ = fmt.Fprintf(os.Stdout, "%s\x1b[%dA", strings.Repeat("\n", below), below) // the library reports a closed terminal
}

// rows returns the number of screen rows of the code, minus 1, and the row of the cursor. A wide character counts as two
// columns. Too many rows do no harm.
func (e *editor) rows(width int) (last, at int) {
	column := len(e.prompt)
	for i, r := range *e.shell.Line() {
		if i == e.shell.Cursor().Pos() {
			at = last
		}
		switch {
		case r == '\n':
			last, column = last+1, len(e.prompt)
			continue
		case r >= 0x1100:
			column++
		}
		if column++; column >= width {
			last, column = last+1, 0
		}
	}
	if e.shell.Cursor().Pos() >= e.shell.Line().Len() {
		at = last
	}
	return last, at
}
