package script

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// showing returns a printer with a temporary folder for figures, and its output.
func showing(t *testing.T) (s *Printer, out, errOut *strings.Builder) {
	t.Helper()
	out, errOut = &strings.Builder{}, &strings.Builder{}
	return NewPrinter(&console.Terminal{Out: out, Err: errOut}, filepath.Join(t.TempDir(), "plot")), out, errOut
}

func play(t *testing.T, s *Printer, typ cellhold.EventType, content any) bool {
	t.Helper()
	done, err := s.event(cellhold.NewEvent(typ, "python3", "c1", content))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestOutputStreamsAreWrittenUnchangedToStdoutAndStderr(t *testing.T) {
	s, out, errOut := showing(t)
	play(t, s, cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "a\x1b]0;t\x07"})
	play(t, s, cellhold.EventStream, cellhold.StreamContent{Name: "stderr", Text: "b"})
	play(t, s, "something_new", map[string]int{"x": 1})
	if out.String() != "a\x1b]0;t\x07" || errOut.String() != "b" { // the output is not a terminal, so no bytes are removed
		t.Errorf("got stdout %q and stderr %q, want %q and %q", out, errOut, "a\x1b]0;t\x07", "b")
	}
}

func TestAResultIsPrintedAndAnUpdatedFigureIsSavedOnce(t *testing.T) {
	s, out, errOut := showing(t)
	s.event(cellhold.Event{Type: cellhold.EventExecuteResult, Content: []byte(`{"data": {"text/plain": "42"}}`)})
	figure := `{"data": {"text/plain": "<Figure>", "image/png": "iVBO\nRw=="}, "transient": {"display_id": "d"}}`
	s.event(cellhold.Event{Type: cellhold.EventDisplayData, Content: []byte(figure)})
	s.event(cellhold.Event{Type: cellhold.EventUpdateDisplayData, Content: []byte(figure)})
	if _, err := s.event(cellhold.Event{Type: cellhold.EventDisplayData, Content: []byte(`{"data": {"image/svg+xml": ["<svg", "/>"]}}`)}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "42\n" {
		t.Errorf("got stdout %q, want %q", out, "42\n")
	}
	for name, want := range map[string]string{"-1.png": "\x89PNG", "-2.svg": "<svg/>"} {
		if got, err := os.ReadFile(s.figures.stem + name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	if s.figures.files != 2 || !strings.Contains(errOut.String(), "plot-1.png") {
		t.Errorf("got %d figures and stderr %q, want 2 and plot-1.png", s.figures.files, errOut)
	}
}

func TestABrokenFigureIsNotSaved(t *testing.T) {
	s, _, errOut := showing(t)
	for _, data := range []string{`"%%%"`, `17`, `{"a": 1}`} {
		if _, err := s.event(cellhold.Event{Type: cellhold.EventDisplayData, Content: []byte(`{"data": {"image/png": ` + data + `}}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if s.figures.files != 0 || strings.Count(errOut.String(), "not saved") != 3 {
		t.Errorf("got %d figures and stderr %q, want 0 and three times \"not saved\"", s.figures.files, errOut)
	}
}

func TestTheEndOfTheScriptSetsTheExitStatus(t *testing.T) {
	exit := func(value string) *cellhold.ErrorContent {
		return &cellhold.ErrorContent{Name: "SystemExit", Value: value, Traceback: []string{"noise"}}
	}
	tests := []struct {
		name   string
		raised *cellhold.ErrorContent
		status cellhold.CellStatus
		want   int
		says   string
	}{
		{"no error", nil, cellhold.StatusOK, 0, ""},
		{"an exception", &cellhold.ErrorContent{Name: "ValueError", Traceback: []string{"\x1b[31mTraceback\x1b[0m", "ValueError"}}, cellhold.StatusError, 1, "Traceback\nValueError\n"},
		{"sys.exit()", exit(""), cellhold.StatusError, 0, ""},
		{"sys.exit(None)", exit("None"), cellhold.StatusError, 0, ""},
		{"sys.exit(3)", exit("3"), cellhold.StatusError, 3, ""},
		{"sys.exit('no')", exit("no"), cellhold.StatusError, 1, "no\n"},
		{"a deadline", nil, cellhold.StatusTimeout, 124, "timeout"},
		{"out of memory", nil, cellhold.StatusOOM, 137, "oom"},
		{"an interrupt", &cellhold.ErrorContent{Name: "KeyboardInterrupt"}, cellhold.StatusInterrupted, 130, "interrupted"},
		{"a lost sandbox", nil, cellhold.StatusLost, 1, "lost"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, _, errOut := showing(t)
			if test.raised != nil {
				play(t, s, cellhold.EventError, test.raised)
			}
			if !play(t, s, cellhold.EventCellDone, cellhold.CellDoneContent{Status: test.status}) {
				t.Error("the event cell_done: got done false, want true")
			}
			if s.Exit != test.want || !strings.Contains(errOut.String(), test.says) || (test.says == "") != (errOut.Len() == 0) {
				t.Errorf("got exit status %d and stderr %q, want %d and %q", s.Exit, errOut, test.want, test.says)
			}
		})
	}
}

func TestAFigureReplacesNoExistingFile(t *testing.T) {
	s, _, _ := showing(t)
	victim := filepath.Join(t.TempDir(), "victim")
	for path, make := range map[string]func(string) error{
		s.figures.stem + "-1.png": func(p string) error { return os.WriteFile(p, []byte("mine"), 0o600) },
		s.figures.stem + "-2.png": func(p string) error { return os.Symlink(victim, p) },
	} {
		if err := make(path); err != nil {
			t.Fatal(err)
		}
	}
	play(t, s, cellhold.EventDisplayData, map[string]any{"data": map[string]string{"image/png": "aGk="}})
	if mine, err := os.ReadFile(s.figures.stem + "-1.png"); err != nil || string(mine) != "mine" {
		t.Errorf("the existing file: got %q, %v; want mine", mine, err)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("the target of the link exists, want no file: a figure must not be written through a link")
	}
	if got, err := os.ReadFile(s.figures.stem + "-3.png"); err != nil || string(got) != "hi" {
		t.Errorf("the figure: got %q, %v; want hi", got, err)
	}
	first, err := s.figures.folder()
	second, err2 := s.figures.folder()
	if err != nil || err2 != nil || first == second {
		t.Errorf("got the folders %q, %v and %q, %v; want two different folders", first, err, second, err2)
	}
}

func TestAScriptCannotFillTheDiskWithFigures(t *testing.T) {
	s, _, errOut := showing(t)
	for range maxFigures + 5 {
		play(t, s, cellhold.EventDisplayData, map[string]any{"data": map[string]string{"image/svg+xml": "<svg/>"}})
	}
	if s.figures.files != maxFigures || strings.Count(errOut.String(), "not saved") != 1 {
		t.Errorf("got %d figures and stderr %q, want %d and once \"not saved\"", s.figures.files, errOut, maxFigures)
	}
	f := newFigures(filepath.Join(t.TempDir(), "plot"))
	if _, err := f.save("", ".png", make([]byte, maxFigureBytes+1)); !errors.Is(err, errFull) {
		t.Errorf("a figure above the limit: got %v, want errFull", err)
	}
	f.bytes = maxFigureBytes - 10
	if _, err := f.save("d", ".png", make([]byte, 10)); err != nil {
		t.Errorf("a figure that reaches the limit: got %v, want nil", err)
	}
	if _, err := f.save("d", ".png", make([]byte, 9)); err != nil {
		t.Errorf("a smaller update of the figure: got %v, want nil", err)
	}
	if _, err := f.save("d", ".png", make([]byte, 11)); !errors.Is(err, errFull) {
		t.Errorf("an update above the limit: got %v, want errFull", err)
	}
}
