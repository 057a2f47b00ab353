package script

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Printer prints the outputs of a script and saves its figures.
type Printer struct {
	out, err io.StringWriter // streams of the script
	trace    io.StringWriter // tracebacks and our own notes
	figures  *figures
	full     bool // the limit of figures was reported
	Exit     int  // the script's exit status, once it is known

	death cellhold.KernelStateContent // how the kernel died, once it has
}

// NewPrinter returns a printer for one script. Output to a terminal is made harmless; files and pipes get the script's bytes
// unchanged. figures is the path of its figures without number and extension.
func NewPrinter(t *console.Terminal, figures string) *Printer {
	s := &Printer{out: plainWriter{t.Out}, err: plainWriter{t.Err}, figures: newFigures(figures)}
	if console.IsTerminal(t.Out) {
		s.out = &console.Screen{W: t.Out, Mono: !t.Colours(t.Out)}
	}
	if console.IsTerminal(t.Err) {
		s.err = &console.Screen{W: t.Err, Mono: !t.Colours(t.Err)}
	}
	s.trace = &console.Screen{W: t.Err, Mono: !t.Colours(t.Err)}
	return s
}

// plainWriter writes text unchanged.
type plainWriter struct{ io.Writer }

// WriteString writes text.
func (w plainWriter) WriteString(text string) (int, error) { return io.WriteString(w.Writer, text) }

// event prints one event. done is true after the cell's last event.
func (s *Printer) event(e cellhold.Event) (done bool, err error) {
	switch e.Type {
	case cellhold.EventStream:
		return false, s.stream(e)
	case cellhold.EventDisplayData, cellhold.EventUpdateDisplayData, cellhold.EventExecuteResult:
		return false, s.display(e)
	case cellhold.EventError:
		return false, s.exception(e)
	case cellhold.EventOutputDropped:
		return false, s.dropped(e)
	case cellhold.EventCellDone:
		return true, s.done(e)
	}
	return false, nil
}

func (s *Printer) dropped(e cellhold.Event) error {
	var c cellhold.OutputDroppedContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	return s.note("%d bytes of output exceeded the limit and were dropped", c.Bytes)
}

func (s *Printer) stream(e cellhold.Event) error {
	var c cellhold.StreamContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	w := s.out
	if c.Name == "stderr" {
		w = s.err
	}
	_, err := w.WriteString(c.Text)
	return err
}

// figureTypes are the MIME types that are saved as files, the preferred first. SVG comes as text, all others as base64.
var figureTypes = []struct{ mime, ending string }{
	{"image/png", ".png"}, {"image/jpeg", ".jpg"}, {"image/svg+xml", ".svg"}, {"application/pdf", ".pdf"},
}

// display saves a figure, or prints a display that has only text.
func (s *Printer) display(e cellhold.Event) error {
	var c cellhold.DisplayContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	for _, f := range figureTypes {
		if raw, ok := c.Data[f.mime]; ok {
			return s.figure(raw, f.ending, c.Transient)
		}
	}
	if text, ok := textOf(c.Data["text/plain"]); ok {
		_, err := s.out.WriteString(text + "\n")
		return err
	}
	return nil
}

// figure saves a figure, or replaces the file of the figure that it updates.
func (s *Printer) figure(raw json.RawMessage, ending string, transient *cellhold.Transient) error {
	text, ok := textOf(raw)
	if !ok {
		return s.note("at least one figure is not saved: its data is not text")
	}
	data := []byte(text)
	if ending != ".svg" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return s.note("at least one figure is not saved: its data is not valid base64")
		}
	}
	id := ""
	if transient != nil {
		id = transient.DisplayID
	}
	return s.keep(id, ending, data)
}

// keep saves the bytes of a figure.
func (s *Printer) keep(id, ending string, data []byte) error {
	return s.saved(s.figures.save(id, ending, data))
}

// saved prints the path of a figure, or that the limit is reached.
func (s *Printer) saved(path string, err error) error {
	switch {
	case errors.Is(err, errFull) && s.full:
		return nil
	case errors.Is(err, errFull):
		s.full = true
		return s.note("at least one figure is not saved: %v", err)
	case err != nil:
		return fmt.Errorf("save figure: %w", err)
	}
	return s.note("figure saved as %s", path)
}

// textOf reads a string. Some kernels send it as a list of lines.
func textOf(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var lines []string
	if raw != nil && json.Unmarshal(raw, &lines) == nil {
		return strings.Join(lines, ""), true
	}
	return "", false
}

// exception prints a traceback. SystemExit is different: scripts use it to set their exit status.
func (s *Printer) exception(e cellhold.Event) error {
	var c cellhold.ErrorContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if c.Name == "SystemExit" {
		var message string
		if s.Exit, message = exitStatus(c.Value); message == "" {
			return nil
		}
		_, err := s.trace.WriteString(message + "\n")
		return err
	}
	s.Exit = console.ExitFailed
	_, err := s.trace.WriteString(strings.Join(c.Traceback, "\n") + "\n")
	if err == nil && c.Name == "StdinNotImplementedError" { // Jupyter's own message is about front ends
		err = s.note("a notebook cannot read input here; use a script")
	}
	return err
}

// exitStatus reads the argument of sys.exit as Python does: nothing is 0, a number is a status, and any other value is
// a message.
func exitStatus(value string) (status int, message string) {
	if value == "" || value == "None" {
		return console.ExitOK, ""
	}
	if n, err := strconv.Atoi(value); err == nil {
		return n & 0xff, ""
	}
	return console.ExitFailed, value
}

// done records how the cell ended.
func (s *Printer) done(e cellhold.Event) error {
	var c cellhold.CellDoneContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	switch c.Status {
	case cellhold.StatusOK, cellhold.StatusError:
		return nil // exception has set the status
	case cellhold.StatusTimeout:
		s.Exit = console.ExitTimeout
	case cellhold.StatusInterrupted, cellhold.StatusCancelled:
		s.Exit = console.ExitInterrupted
	case cellhold.StatusExit: // os._exit, or a fatal error of the interpreter
		if s.Exit = s.death.Exit & 0xff; s.Exit == console.ExitOK {
			return nil
		}
	case cellhold.StatusSignal:
		s.Exit = console.ExitKilled
		if s.death.Signal > 0 {
			s.Exit = 128 + s.death.Signal
		}
	case cellhold.StatusOOM:
		s.Exit = console.ExitKilled
	default:
		s.Exit = console.ExitFailed
	}
	cause := c.Cause
	if cause == "" {
		cause = string(c.Status)
	}
	if c.Status == cellhold.StatusTimeout { // the text after the semicolon is about variables, which end with the session
		cause, _, _ = strings.Cut(cause, ";")
	}
	return s.note("the script did not end by itself: %s", cause)
}

// kernel records how the kernel died. This event comes before the cell_done event of the cell that ran at that
// time.
func (s *Printer) kernel(e cellhold.Event) {
	var c cellhold.KernelStateContent
	if e.Decode(&c) == nil && c.State == cellhold.KernelDead {
		s.death = c
	}
}

// note prints a message of cellhold itself.
func (s *Printer) note(format string, args ...any) error {
	_, err := s.trace.WriteString(fmt.Sprintf("cellhold: "+format+"\n", args...))
	return err
}
