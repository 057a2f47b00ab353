package remote

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// SubmitCmd runs a cell in a session.
type SubmitCmd struct {
	printing `embed:""`

	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Code    string             `arg:"" optional:"" help:"Code of the cell. - or nothing reads it from the standard input."`
	File    string             `help:"Read the code from this file." short:"f" placeholder:"PATH" type:"existingfile"`
	Kernel  cellhold.KernelID  `help:"Kernel of the session. Default: the first one." placeholder:"ID"`
	Timeout time.Duration      `help:"End the cell after this time. 0: default (set by the server)." default:"0s"`
	Env     []string           `help:"Environment variable of this cell; can be repeated." short:"e" placeholder:"NAME=VALUE" sep:"none"`
	OnError cellhold.OnError   `help:"Effect on the queued cells if this cell fails: continue or cancel." enum:"continue,cancel" default:"continue"`
	Input   bool               `help:"Allow the code to ask for input. Answer with cellhold cell answer."`
	Key     string             `help:"Your name for this cell. A second command with the same name runs no second cell." placeholder:"NAME"`
	Detach  bool               `help:"Print the cell's id and leave it in the queue." short:"d"`
}

// Help returns the text below the list of flags.
func (SubmitCmd) Help() string {
	return "The command prints the output of the cell as it comes, and ends with the cell. If the command ends first, the cell continues. " +
		"The exit status is 0 if the cell ended without an error, 1 after an exception, 124 at the timeout, 130 if the cell was interrupted, and 137 if its kernel was killed."
}

// Run submits the cell and prints its output.
func (c *SubmitCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	remote, out, err := c.open(all, t)
	if err != nil {
		return err
	}
	code, err := c.source(t.In)
	if err != nil {
		return err
	}
	cell, err := remote.Submit(ctx, c.Session, client.Code{Code: code, Kernel: c.Kernel, Timeout: c.Timeout, Env: environment(c.Env, t),
		OnError: c.OnError, AllowStdin: c.Input, Key: c.Key})
	if err != nil {
		return err
	}
	if c.Detach {
		return out.Result(cell, string(cell.ID))
	}
	if c.JSON {
		cell, err = remote.Wait(ctx, c.Session, cell.ID)
		if err == nil {
			err = out.Document(cell)
		}
	} else {
		cell.Status, err = follow(ctx, remote, cell, t)
	}
	if err != nil && ctx.Err() != nil {
		fmt.Fprintf(t.Err, "cellhold: the cell continues; see it with: cellhold cell show %s %s\n", c.Session, cell.ID)
		return console.ExitError(console.ExitInterrupted)
	}
	if status := console.CellStatus(cell.Status); err == nil && status != console.ExitOK {
		return console.ExitError(status)
	}
	return err
}

// source returns the code of the cell.
func (c *SubmitCmd) source(in io.Reader) (string, error) {
	switch {
	case c.File != "" && c.Code != "":
		return "", console.Usage(errors.New("give either the code or --file"))
	case c.File != "":
		text, err := os.ReadFile(c.File)
		return string(text), err
	case c.Code != "" && c.Code != "-":
		return c.Code, nil
	case in == nil:
		return "", nil
	}
	text, err := io.ReadAll(in)
	return string(text), err
}

// environment returns the variables of flags NAME=VALUE. As with docker, a name alone has its value in our environment.
func environment(flags []string, t *console.Terminal) map[string]string {
	all := map[string]string{}
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		if !ok {
			value = t.Getenv(name)
		}
		all[name] = value
	}
	return all
}

// follow prints the output of a cell until the cell is done, and returns its result.
func follow(ctx context.Context, remote *client.Client, cell cellhold.Cell, t *console.Terminal) (cellhold.CellStatus, error) {
	p := newCellPrinter(t)
	defer p.end()
	for e, err := range remote.Watch(ctx, cell.Session, cell.First-1) {
		if err != nil {
			return "", err
		}
		if e.Cell != cell.ID {
			continue
		}
		if e.Type == cellhold.EventCellDone {
			var done cellhold.CellDoneContent
			if err := e.Decode(&done); err != nil {
				return "", err
			}
			if done.Cause != "" {
				err = p.note(done.Cause)
			}
			return done.Status, err
		}
		if err := p.event(e); err != nil {
			return "", err
		}
	}
	return cellhold.StatusLost, errors.New("the session ended before the cell did")
}

// cellPrinter prints the outputs of cells. A terminal gets only harmless text; files and pipes get the text of stdout
// and stderr unchanged.
type cellPrinter struct {
	out, err io.StringWriter
	trace    *console.Screen
}

func newCellPrinter(t *console.Terminal) *cellPrinter {
	return &cellPrinter{out: textWriter(t, t.Out), err: textWriter(t, t.Err), trace: &console.Screen{W: t.Err, Mono: !t.Colours(t.Err)}}
}

// textWriter returns a writer for text of sandboxes.
func textWriter(t *console.Terminal, w io.Writer) io.StringWriter {
	if console.IsTerminal(w) {
		return &console.Screen{W: w, Mono: !t.Colours(w)}
	}
	return stringWriter{w}
}

// stringWriter writes text unchanged.
type stringWriter struct{ io.Writer }

// WriteString writes text.
func (w stringWriter) WriteString(text string) (int, error) { return io.WriteString(w.Writer, text) }

// event prints one event of a cell.
func (p *cellPrinter) event(e cellhold.Event) (err error) {
	switch e.Type {
	case cellhold.EventStream:
		var c cellhold.StreamContent
		if err = e.Decode(&c); err == nil {
			_, err = p.stream(c.Name).WriteString(c.Text)
		}
	case cellhold.EventDisplayData, cellhold.EventExecuteResult:
		var c cellhold.DisplayContent
		if err = e.Decode(&c); err == nil {
			err = p.display(c.Data)
		}
	case cellhold.EventError:
		var c cellhold.ErrorContent
		if err = e.Decode(&c); err == nil {
			p.end()
			err = p.trace.Block(strings.Join(c.Traceback, "\n"))
		}
	case cellhold.EventInputRequest:
		var c cellhold.InputRequestContent
		if err = e.Decode(&c); err == nil {
			err = p.note(fmt.Sprintf("the code asks for input: %q; answer with: cellhold cell answer %s", c.Prompt, e.Cell))
		}
	case cellhold.EventOutputDropped:
		var c cellhold.OutputDroppedContent
		if err = e.Decode(&c); err == nil {
			err = p.note(fmt.Sprintf("%d bytes of output exceeded the limit and were dropped", c.Bytes))
		}
	}
	return err
}

func (p *cellPrinter) stream(name string) io.StringWriter {
	if name == "stderr" {
		return p.err
	}
	return p.out
}

// display prints the text of a display. Figures have a text too, which names them.
func (p *cellPrinter) display(data map[string]json.RawMessage) error {
	var text string
	if json.Unmarshal(data["text/plain"], &text) != nil {
		return nil
	}
	if screen, ok := p.out.(*console.Screen); ok {
		return errors.Join(screen.End(), screen.Block(text))
	}
	_, err := p.out.WriteString(text + "\n")
	return err
}

// note prints a message of cellhold itself.
func (p *cellPrinter) note(text string) error {
	p.end()
	return p.trace.Block("cellhold: " + console.Printable(text))
}

// end ends the colours and sequences of the code. If a terminal is closed, the next text has the error.
func (p *cellPrinter) end() {
	for _, w := range []io.StringWriter{p.out, p.err, p.trace} {
		if screen, ok := w.(*console.Screen); ok {
			_ = screen.End()
		}
	}
}

// CellCmd holds the commands for the cells of a session.
type CellCmd struct {
	printing `embed:""`

	Ls     cellLsCmd     `cmd:"" help:"List the cells of a session, the oldest first."`
	Show   cellShowCmd   `cmd:"" help:"Print the outputs of a cell so far. With --json, print the whole cell."`
	Text   cellTextCmd   `cmd:"" help:"Print all text that a cell wrote to stdout or stderr."`
	Cancel cellCancelCmd `cmd:"" help:"Cancel a queued cell, or interrupt a running one."`
	Answer cellAnswerCmd `cmd:"" help:"Answer the question of a cell that asks for input."`
}

// oneCell names a cell of a session.
type oneCell struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Cell    cellhold.CellID    `arg:"" help:"Cell id."`
}

type cellLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists cells.
func (c *cellLsCmd) Run(ctx context.Context, parent *CellCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.Cells(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, x := range list {
		first, _, _ := strings.Cut(strings.TrimSpace(x.Code), "\n")
		count := ""
		if x.ExecutionCount > 0 {
			count = strconv.Itoa(x.ExecutionCount)
		}
		rows = append(rows, []string{string(x.ID), string(x.Kernel), count, cmp.Or(string(x.Status), string(x.State)), console.Clock(x.Submitted), shortened(first)})
	}
	return out.Table(list, "ID KERNEL COUNT STATE SUBMITTED CODE", rows)
}

// shortened returns at most 40 characters of a text.
func shortened(text string) string {
	const most = 40
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

type cellShowCmd struct {
	oneCell `embed:""`
	Wait    bool `help:"Wait until the cell is done."`
}

// Run prints the outputs of a cell.
func (c *cellShowCmd) Run(ctx context.Context, parent *CellCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	read := remote.Cell
	if c.Wait {
		read = remote.Wait
	}
	cell, err := read(ctx, c.Session, c.Cell)
	if err != nil {
		return err
	}
	if out.JSON {
		return out.Document(cell)
	}
	if out.Quiet {
		return out.Result(cell, string(cell.ID))
	}
	p := newCellPrinter(t)
	defer p.end()
	for _, o := range cell.Outputs {
		switch o.Type {
		case cellhold.EventStream:
			_, err = p.stream(o.Name).WriteString(o.Text)
		case cellhold.EventError:
			err = p.trace.Block(strings.Join(o.Traceback, "\n"))
		default:
			err = p.display(o.Data)
		}
		if err != nil {
			return err
		}
	}
	if cell.State != cellhold.CellDone || cell.Status != cellhold.StatusOK {
		return p.note(strings.TrimSpace(fmt.Sprintf("the cell is %s %s", cmp.Or(string(cell.Status), string(cell.State)), cell.Cause)))
	}
	return nil
}

type cellTextCmd struct {
	oneCell `embed:""`
	Stream  string `help:"Stream: stdout or stderr." enum:"stdout,stderr" default:"stdout"`
	Offset  int64  `help:"Number of bytes to skip." default:"0"`
}

// Run prints the text of a cell.
func (c *cellTextCmd) Run(ctx context.Context, parent *CellCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if out.JSON {
		var text strings.Builder
		if err := remote.Text(ctx, c.Session, c.Cell, c.Stream, c.Offset, &text); err != nil {
			return err
		}
		return out.Document(struct {
			Text string `json:"text"`
		}{text.String()})
	}
	return shown(t, t.Out, func(w io.Writer) error {
		return remote.Text(ctx, c.Session, c.Cell, c.Stream, c.Offset, w)
	})
}

// bytesTo returns a writer for bytes of sandboxes. A terminal gets only harmless text.
func bytesTo(t *console.Terminal, w io.Writer) io.Writer {
	if console.IsTerminal(w) {
		return screenWriter{&console.Screen{W: w, Mono: !t.Colours(w)}}
	}
	return w
}

// shown calls write with a writer for bytes of sandboxes, and ends the colours of the bytes.
func shown(t *console.Terminal, w io.Writer, write func(io.Writer) error) error {
	w = bytesTo(t, w)
	return errors.Join(write(w), ended(w))
}

// ended ends the colours of a writer that bytesTo returned.
func ended(w io.Writer) error {
	if screen, ok := w.(screenWriter); ok {
		return screen.End()
	}
	return nil
}

type cellCancelCmd struct {
	oneCell `embed:""`
}

// Run cancels a cell.
func (c *cellCancelCmd) Run(ctx context.Context, parent *CellCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	cell, err := remote.Cancel(ctx, c.Session, c.Cell)
	if err != nil {
		return err
	}
	return out.Report(cell, "cell %s: %s", cell.ID, cmp.Or(string(cell.Status), string(cell.State)))
}

type cellAnswerCmd struct {
	oneCell `embed:""`
	Value   string `arg:"" help:"The answer."`
	Request int64  `help:"Number of the input_request event, so that the answer cannot reach another question. Default: the open question." placeholder:"N"`
}

// Run answers the question of a cell.
func (c *cellAnswerCmd) Run(ctx context.Context, parent *CellCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.Answer(ctx, c.Session, c.Cell, c.Request, c.Value); err != nil {
		return err
	}
	return out.Report(named{string(c.Cell)}, "cell %s: answered", c.Cell)
}
