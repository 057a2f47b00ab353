// Package watch contains the commands that show what sessions do: attach, logs and top.
//
// They change nothing in a session, except that attach can answer questions of its code. They use a server only through
// package client. Code and output are untrusted, and pass through packages console and output.
package watch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/answer"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/output"
	"cellhold/internal/cli/remote"
)

// serverFlags are the flags of a command that uses a server.
type serverFlags struct {
	URL   string `help:"URL of the server." default:"http://127.0.0.1:5002" name:"url" placeholder:"URL"`
	Token string `help:"Token for the server. Default: the first token in the home." secret:"" placeholder:"TOKEN"`
}

func (f *serverFlags) connect(home string) (*client.Client, error) {
	return remote.NewClient(f.URL, f.Token, home)
}

// AttachCmd shows the cells of a session as they happen.
type AttachCmd struct {
	serverFlags `embed:""`

	Session cellhold.SessionID `arg:"" help:"Session id."`
	From    int64              `help:"Show events from this number on. 1: the whole history. Default: the cells that run now, and later ones." placeholder:"NUMBER"`
	Since   time.Duration      `help:"Show the events of this last time too, such as 10m." placeholder:"TIME"`
	Input   bool               `help:"Answer questions of input() at this terminal."`
	Figures string             `help:"Folder for figures. Default: figures are only named." placeholder:"DIR"`
}

// Help returns the text below the list of flags.
func (AttachCmd) Help() string {
	return "The command shows code and output of all cells, until the session ends or Ctrl-C. Ctrl-C does not affect the session. A broken connection is resumed without a gap."
}

// Run shows events until the session ends or a signal comes.
func (c *AttachCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	server, err := c.connect(all.Home)
	if err != nil {
		return err
	}
	after, err := c.after(ctx, server)
	if err != nil {
		return err
	}
	v := newViewer(server, c.Session, t, figuresIn(c.Figures))
	if c.Input {
		v.lines = answer.NewLines(t.In)
	}
	defer v.close()
	since := time.Time{}
	if c.Since > 0 {
		since = time.Now().Add(-c.Since)
	}
	for e, err := range server.Watch(ctx, c.Session, after) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case e.Time.Before(since):
			continue
		}
		if err := v.event(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// after returns the number of the event before the first one to show.
func (c *AttachCmd) after(ctx context.Context, server *client.Client) (int64, error) {
	if c.From > 0 {
		return c.From - 1, nil
	}
	if c.Since > 0 {
		return 0, nil
	}
	cells, err := server.Cells(ctx, c.Session)
	if err != nil {
		return 0, err
	}
	var last int64
	for _, cell := range cells {
		if cell.State != cellhold.CellDone && cell.First > 0 {
			return cell.First - 1, nil
		}
		last = max(last, cell.Last)
	}
	return last, nil
}

// figuresIn returns the files of figures in a folder, or nil without a folder.
func figuresIn(dir string) *output.Figures {
	if dir == "" {
		return nil
	}
	return &output.Figures{Dir: dir}
}

// viewer prints the events of the cells of one session.
type viewer struct {
	server  *client.Client
	session cellhold.SessionID
	p       *output.Printer
	lines   *answer.Lines // nil: questions are only shown
	shown   cellhold.CellID

	ask    sync.WaitGroup
	asking context.CancelFunc // ends the open question; nil if there is none
	failed error              // why the last answer was not sent; the goroutine of the question writes it
}

func newViewer(server *client.Client, id cellhold.SessionID, t *console.Terminal, figures *output.Figures) *viewer {
	return &viewer{server: server, session: id, p: output.New(t, figures, nil)}
}

// close ends an open question.
func (v *viewer) close() {
	if v.asking != nil {
		v.asking()
		v.asking = nil
	}
	v.ask.Wait()
	if v.failed != nil {
		_ = v.p.Note("the answer was not sent: %v", console.Message(v.failed)) // without a terminal, the text is lost
		v.failed = nil
	}
}

func (v *viewer) event(ctx context.Context, e cellhold.Event) error {
	switch e.Type {
	case cellhold.EventCellStarted:
		return v.begin(ctx, e)
	case cellhold.EventInputRequest:
		return v.question(ctx, e)
	case cellhold.EventInputReply:
		v.close()
		return nil
	case cellhold.EventCellDone:
		return v.done(e)
	case cellhold.EventKernelState:
		var c cellhold.KernelStateContent
		if e.Decode(&c) == nil && c.State == cellhold.KernelDead {
			return v.p.Note("kernel %s died: %s", e.Kernel, c.Detail)
		}
		return nil
	case cellhold.EventSessionHibernated, cellhold.EventSessionResumed, cellhold.EventSessionRolledBack, cellhold.EventSessionEnded:
		return v.p.Note("%s", strings.ReplaceAll(string(e.Type), "_", " "))
	}
	if e.Cell == "" {
		return nil
	}
	if v.shown != e.Cell && output.Shows(e.Type) {
		if err := v.begin(ctx, e); err != nil { // another kernel's cell, or the first events were not asked for
			return err
		}
	}
	return v.p.Event(ctx, e)
}

// begin prints the code of a cell.
func (v *viewer) begin(ctx context.Context, e cellhold.Event) error {
	v.shown = e.Cell
	cell, err := v.server.Cell(ctx, v.session, e.Cell)
	if err != nil {
		return err
	}
	if err := v.p.EndLine(); err != nil {
		return err
	}
	return v.p.Heading(fmt.Sprintf("In [%d] %s %s", cell.ExecutionCount, e.Kernel, e.Cell), cell.Code)
}

// question shows a question of input(), and answers it with a line of the terminal.
func (v *viewer) question(ctx context.Context, e cellhold.Event) error {
	var q cellhold.InputRequestContent
	if err := e.Decode(&q); err != nil {
		return err
	}
	cell, err := v.server.Cell(ctx, v.session, e.Cell)
	if err != nil {
		return err
	}
	if v.lines == nil || cell.Input == nil {
		return v.p.Note("the code asks: %s", q.Prompt)
	}
	v.close()
	if _, err := v.p.Out.WriteString(q.Prompt); err != nil {
		return err
	}
	ctx, v.asking = context.WithCancel(ctx)
	v.ask.Go(func() { // the events continue: another caller can answer
		text, err := v.lines.Read(ctx, q.Password)
		if err == nil {
			err = v.server.Answer(ctx, v.session, e.Cell, e.Seq, text)
		}
		if ctx.Err() == nil && cellhold.KindOf(err) != cellhold.Conflict {
			v.failed = err
		}
	})
	return nil
}

func (v *viewer) done(e cellhold.Event) error {
	v.close()
	var c cellhold.CellDoneContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if err := v.p.Done(c); err != nil {
		return err
	}
	took := ""
	if c.Usage != nil {
		took = fmt.Sprintf(" in %.1f s", c.Usage.Wall)
	}
	return v.p.Note("%s %s%s", e.Cell, c.Status, took)
}

// LogsCmd prints the recorded output of a session or a cell.
type LogsCmd struct {
	serverFlags `embed:""`

	Session cellhold.SessionID `arg:"" help:"Session id."`
	Cell    cellhold.CellID    `arg:"" optional:"" help:"Cell id. Default: all cells."`
	Figures string             `help:"Folder for figures. Default: figures are only named." placeholder:"DIR"`
}

// Run prints the code and the output of cells up to now, and ends.
func (c *LogsCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	server, err := c.connect(all.Home)
	if err != nil {
		return err
	}
	cells, err := c.cells(ctx, server)
	if err != nil || len(cells) == 0 {
		return err
	}
	var first, last int64
	for _, cell := range cells {
		if cell.State != cellhold.CellDone {
			continue
		}
		if cell.First > 0 && (first == 0 || cell.First < first) {
			first = cell.First
		}
		last = max(last, cell.Last)
	}
	v := newViewer(server, c.Session, t, figuresIn(c.Figures))
	defer v.close()
	if last > 0 {
		if err := c.print(ctx, v, first, last); err != nil {
			return err
		}
	}
	return v.unfinished(ctx, cells)
}

// print prints the events from first to last.
func (c *LogsCmd) print(ctx context.Context, v *viewer, first, last int64) error {
	for e, err := range v.server.Watch(ctx, c.Session, first-1) {
		if err != nil {
			return err
		}
		if c.Cell == "" || c.Cell == e.Cell {
			if err := v.event(ctx, e); err != nil {
				return err
			}
		}
		if e.Seq >= last {
			break
		}
	}
	return v.p.EndLine()
}

// unfinished prints the text of cells that still run. The number of their last event is not known.
func (v *viewer) unfinished(ctx context.Context, cells []cellhold.Cell) error {
	for _, cell := range cells {
		if cell.State != cellhold.CellRunning {
			continue
		}
		if err := v.p.Heading(fmt.Sprintf("In [%d] %s %s", cell.ExecutionCount, cell.Kernel, cell.ID), cell.Code); err != nil {
			return err
		}
		if err := v.server.Text(ctx, v.session, cell.ID, "stdout", 0, text{v.p.Out}); err != nil {
			return err
		}
		if err := v.p.Note("%s is running", cell.ID); err != nil {
			return err
		}
	}
	return nil
}

// text writes bytes of a cell as text.
type text struct{ to *console.Screen }

func (w text) Write(b []byte) (int, error) { return w.to.WriteString(string(b)) }

func (c *LogsCmd) cells(ctx context.Context, server *client.Client) ([]cellhold.Cell, error) {
	if c.Cell == "" {
		return server.Cells(ctx, c.Session)
	}
	cell, err := server.Cell(ctx, c.Session, c.Cell)
	return []cellhold.Cell{cell}, err
}
