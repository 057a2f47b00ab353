// Package output prints the events of cells at a terminal, as they happen: text, results, tracebacks and figures.
//
// All text comes from untrusted code. Text passes through console.Screen, so no control sequence except colours reaches
// the terminal. Figures are drawn by package picture, or saved as files. The names of these files never come from the code.
// The package does not ask for events and does not answer questions.
package output

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/picture"
)

// Printer prints the events of cells. One goroutine at a time can use it.
type Printer struct {
	Out, Err *console.Screen
	Colour   bool
	Figures  *Figures        // files of figures; nil means that figures are not saved
	Pictures *picture.Screen // nil if the terminal shows no pictures

	begun bool // the last line of the output is not complete
	drawn int  // figures of the present cell that were drawn, or failed to be
}

// Colour reports whether texts for w can have colours: w is a terminal, and NO_COLOR is not set.
func Colour(t *console.Terminal, w io.Writer) bool {
	return console.IsTerminal(w) && t.Getenv("NO_COLOR") == "" && t.Getenv("TERM") != "dumb"
}

// New returns a printer for the streams of a command.
func New(t *console.Terminal, figures *Figures, pictures *picture.Screen) *Printer {
	colour := Colour(t, t.Out)
	return &Printer{Out: &console.Screen{W: t.Out, Mono: !colour}, Err: &console.Screen{W: t.Err, Mono: !Colour(t, t.Err)}, Colour: colour, Figures: figures, Pictures: pictures}
}

// Event prints one event of a cell. It ignores events that are no output. If the context ends, it leaves a figure.
func (p *Printer) Event(ctx context.Context, e cellhold.Event) error {
	switch e.Type {
	case cellhold.EventStream:
		return p.stream(e)
	case cellhold.EventDisplayData, cellhold.EventUpdateDisplayData, cellhold.EventExecuteResult:
		return p.display(ctx, e)
	case cellhold.EventError:
		return p.exception(e)
	case cellhold.EventOutputDropped:
		var c cellhold.OutputDroppedContent
		if err := e.Decode(&c); err != nil {
			return err
		}
		return p.Note("%d bytes of output exceeded the limit and were dropped", c.Bytes)
	}
	return nil
}

func (p *Printer) stream(e cellhold.Event) error {
	var c cellhold.StreamContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	w := p.Out
	if c.Name == "stderr" {
		w = p.Err
	}
	if c.Text != "" {
		p.begun = !strings.HasSuffix(c.Text, "\n")
	}
	_, err := w.WriteString(c.Text)
	return err
}

// display shows a figure or a text.
func (p *Printer) display(ctx context.Context, e cellhold.Event) error {
	var c cellhold.DisplayContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if err := p.EndLine(); err != nil {
		return err
	}
	for _, f := range figureTypes {
		if raw, ok := c.Data[f.mime]; ok {
			return p.figure(ctx, raw, f, c.Transient)
		}
	}
	text, ok := textOf(c.Data["text/plain"])
	if !ok {
		return nil
	}
	prompt := ""
	if e.Type == cellhold.EventExecuteResult && c.ExecutionCount > 0 {
		prompt = p.Styled("31", fmt.Sprintf("Out[%d]: ", c.ExecutionCount))
		if strings.Contains(text, "\n") {
			prompt += "\n" // a table must keep its columns
		}
	}
	return p.Out.Block(prompt + text)
}

// figureType is a MIME type that is shown as a figure.
type figureType struct {
	mime, ending string
	drawn        bool // terminals can show it
}

// figureTypes are the preferred types first. SVG comes as text, all others as base64.
var figureTypes = []figureType{{"image/png", ".png", true}, {"image/jpeg", ".jpg", true}, {"image/svg+xml", ".svg", false}, {"application/pdf", ".pdf", false}}

// maxDrawn is the limit of the figures that one cell draws. A loop of figures would otherwise hold the terminal.
const maxDrawn = 100

// draw draws a figure.
func (p *Printer) draw(ctx context.Context, data []byte) error {
	if p.drawn >= maxDrawn {
		return fmt.Errorf("the cell has drawn %d figures, the limit of one cell", maxDrawn)
	}
	p.drawn++
	return p.Pictures.Draw(ctx, data)
}

// figure draws a figure, or saves it as a file.
func (p *Printer) figure(ctx context.Context, raw json.RawMessage, f figureType, transient *cellhold.Transient) error {
	text, ok := textOf(raw)
	if !ok {
		return p.Note("a figure is not shown: its data is not text")
	}
	data := []byte(text)
	if f.ending != ".svg" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return p.Note("a figure is not shown: its data is not valid base64")
		}
	}
	if p.Pictures != nil && f.drawn {
		err := p.draw(ctx, data)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case p.Figures == nil:
			return p.Note("a figure is not shown: %v", err)
		}
	}
	if p.Figures == nil {
		return p.Note("a figure is not shown: the terminal shows no pictures")
	}
	id := ""
	if transient != nil {
		id = transient.DisplayID
	}
	path, err := p.Figures.save(id, f.ending, data)
	if errors.Is(err, errFull) {
		return p.Note("a figure is not saved: %v", err)
	}
	if err != nil {
		return fmt.Errorf("save a figure: %w", err)
	}
	return p.write("Figure: " + Link(path, p.Colour) + "\n")
}

// textOf reads a string. Some kernels send it as a list of lines.
func textOf(raw json.RawMessage) (string, bool) {
	var text string
	if raw != nil && json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var lines []string
	if raw != nil && json.Unmarshal(raw, &lines) == nil {
		return strings.Join(lines, ""), true
	}
	return "", false
}

// exception prints a traceback.
func (p *Printer) exception(e cellhold.Event) error {
	var c cellhold.ErrorContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if err := p.EndLine(); err != nil {
		return err
	}
	lines := c.Traceback
	if len(lines) == 0 {
		lines = []string{c.Name + ": " + c.Value}
	}
	return p.Err.Block(strings.Join(lines, "\n"))
}

// Done prints why a cell ended, unless it succeeded or raised an exception.
func (p *Printer) Done(c cellhold.CellDoneContent) error {
	p.drawn = 0
	if err := p.EndLine(); err != nil || c.Status == cellhold.StatusOK || c.Status == cellhold.StatusError {
		return err
	}
	cause := c.Cause
	if cause == "" {
		cause = "The cell ended with the status " + string(c.Status) + "."
	}
	return p.Note("%s", cause)
}

// EndLine completes the last line of the output, and ends colours and sequences that the code left on.
func (p *Printer) EndLine() error {
	if err := errors.Join(p.Out.End(), p.Err.End()); err != nil || !p.begun {
		return err
	}
	p.begun = false
	return p.write("\n")
}

// Note prints a message of cellhold itself.
func (p *Printer) Note(format string, args ...any) error {
	if err := p.EndLine(); err != nil {
		return err
	}
	return p.write(p.Styled("2", "cellhold: "+console.Printable(fmt.Sprintf(format, args...))) + "\n")
}

// Text prints text that a kernel sent.
func (p *Printer) Text(text string) error {
	return p.Out.Block(strings.TrimSuffix(text, "\n"))
}

// Styled returns our own text with the attributes of a colour sequence, such as "31" for red.
func (p *Printer) Styled(attributes, text string) string {
	if !p.Colour {
		return text
	}
	return "\x1b[" + attributes + "m" + text + "\x1b[0m"
}

// write writes our own text, which can have links.
func (p *Printer) write(text string) error {
	_, err := io.WriteString(p.Out.W, text)
	return err
}

// Shows reports whether Event prints events of a type.
func Shows(t cellhold.EventType) bool {
	switch t {
	case cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventUpdateDisplayData, cellhold.EventExecuteResult, cellhold.EventError, cellhold.EventOutputDropped:
		return true
	}
	return false
}

// overwriting are characters that could replace code which is shown already. Python takes a carriage return as a line break.
var overwriting = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\b", "\ufffd")

// Heading prints a title of our own, and code of a caller. The code that is shown is the code that ran.
func (p *Printer) Heading(title, code string) error {
	if err := p.write(p.Styled("32", console.Printable(title)) + "\n"); err != nil {
		return err
	}
	var clean strings.Builder
	_, _ = (&console.Screen{W: &clean, Mono: true}).WriteString(strings.TrimRight(overwriting.Replace(code), "\n")) // a strings.Builder does not fail
	return p.write("  " + strings.ReplaceAll(clean.String(), "\n", "\n  ") + "\n")
}
