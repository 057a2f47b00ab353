package main

import (
	"cellhold"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Exit statuses of `run` for scripts that did not end by themselves, as shells and timeout(1) have
// them.
const (
	exitTimeout     = 124
	exitInterrupted = 130
	exitKilled      = 137
)

// show writes the outputs of one cell to a terminal and its figures to files.
type show struct {
	out, err io.StringWriter // streams of the script
	trace    io.StringWriter // tracebacks and our own notes
	figures  *figures
	full     bool // it was said that no more figures are saved
	exit     int  // the script's own status, once it is known

	death cellhold.KernelStateContent // how the kernel died, once it has
}

// newShow returns a show of one script. What goes to a terminal is made harmless; files and pipes
// get the script's bytes as they are.
func newShow(t *terminal, figures string) *show {
	s := &show{out: plainWriter{t.out}, err: plainWriter{t.err}, figures: newFigures(figures)}
	if isTerminal(t.out) {
		s.out = &screen{w: t.out}
	}
	if isTerminal(t.err) {
		s.err = &screen{w: t.err}
	}
	s.trace = &screen{w: t.err, mono: !isTerminal(t.err)}
	return s
}

// plainWriter writes text as it is.
type plainWriter struct{ io.Writer }

// WriteString writes text.
func (w plainWriter) WriteString(text string) (int, error) { return io.WriteString(w.Writer, text) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// event shows one event. done is true after the cell's last one.
func (s *show) event(e cellhold.Event) (done bool, err error) {
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

func (s *show) dropped(e cellhold.Event) error {
	var c cellhold.OutputDroppedContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	return s.note("%d bytes of output did not fit the bounds and were dropped", c.Bytes)
}

func (s *show) stream(e cellhold.Event) error {
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

// figureTypes are the types that are saved to files, the best first. The text of a vector graphic
// comes as it is, all others in base 64.
var figureTypes = []struct{ mime, ending string }{
	{"image/png", ".png"}, {"image/jpeg", ".jpg"}, {"image/svg+xml", ".svg"}, {"application/pdf", ".pdf"},
}

// display saves a figure, or shows what has only a text.
func (s *show) display(e cellhold.Event) error {
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

// figure saves a figure. One that updates an earlier one replaces its file.
func (s *show) figure(raw json.RawMessage, ending string, transient *cellhold.Transient) error {
	text, ok := textOf(raw)
	if !ok {
		return s.note("a figure was not text, as it should be; it is not saved")
	}
	data := []byte(text)
	if ending != ".svg" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return s.note("a figure was not valid base 64; it is not saved")
		}
	}
	id := ""
	if transient != nil {
		id = transient.DisplayID
	}
	return s.keep(id, ending, data)
}

// keep saves the bytes of a figure.
func (s *show) keep(id, ending string, data []byte) error {
	return s.saved(s.figures.save(id, ending, data))
}

// saved tells where a figure is, or that there are enough.
func (s *show) saved(path string, err error) error {
	switch {
	case errors.Is(err, errFull) && s.full:
		return nil
	case errors.Is(err, errFull):
		s.full = true
		return s.note("this figure and those that follow are not saved: %v", err)
	case err != nil:
		return fmt.Errorf("save figure: %w", err)
	}
	return s.note("figure saved as %s", path)
}

// textOf reads a string, or the list of its lines as some kernels send it.
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

// exception shows a traceback. SystemExit is not one: it is how scripts say their exit status.
func (s *show) exception(e cellhold.Event) error {
	var c cellhold.ErrorContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	if c.Name == "SystemExit" {
		var message string
		if s.exit, message = exitStatus(c.Value); message == "" {
			return nil
		}
		_, err := s.trace.WriteString(message + "\n")
		return err
	}
	s.exit = exitFailed
	_, err := s.trace.WriteString(strings.Join(c.Traceback, "\n") + "\n")
	if err == nil && c.Name == "StdinNotImplementedError" { // Jupyter's, whose words are about front ends
		err = s.note("a notebook cannot ask for input here; a script can")
	}
	return err
}

// exitStatus reads the argument of sys.exit, as Python does: nothing is 0, a number is itself, and
// anything else is a message.
func exitStatus(value string) (status int, message string) {
	if value == "" || value == "None" {
		return exitOK, ""
	}
	if n, err := strconv.Atoi(value); err == nil {
		return n & 0xff, ""
	}
	return exitFailed, value
}

// done notes how the cell ended.
func (s *show) done(e cellhold.Event) error {
	var c cellhold.CellDoneContent
	if err := e.Decode(&c); err != nil {
		return err
	}
	switch c.Status {
	case cellhold.StatusOK, cellhold.StatusError:
		return nil // exception has seen the status
	case cellhold.StatusTimeout:
		s.exit = exitTimeout
	case cellhold.StatusInterrupted, cellhold.StatusCancelled:
		s.exit = exitInterrupted
	case cellhold.StatusExit: // os._exit, or what the interpreter ends with when it cannot go on
		if s.exit = s.death.Exit & 0xff; s.exit == exitOK {
			return nil
		}
	case cellhold.StatusSignal:
		s.exit = exitKilled
		if s.death.Signal > 0 {
			s.exit = 128 + s.death.Signal
		}
	case cellhold.StatusOOM:
		s.exit = exitKilled
	default:
		s.exit = exitFailed
	}
	cause := c.Cause
	if cause == "" {
		cause = string(c.Status)
	}
	if c.Status == cellhold.StatusTimeout { // the rest is about the variables, which end with the session
		cause, _, _ = strings.Cut(cause, ";")
	}
	return s.note("the script did not end by itself: %s", cause)
}

// kernel notes how the kernel died, which comes before the end of the cell that it ended.
func (s *show) kernel(e cellhold.Event) {
	var c cellhold.KernelStateContent
	if e.Decode(&c) == nil && c.State == cellhold.KernelDead {
		s.death = c
	}
}

// note tells something that the script did not say.
func (s *show) note(format string, args ...any) error {
	_, err := s.trace.WriteString(fmt.Sprintf("cellhold: "+format+"\n", args...))
	return err
}
