package mcp

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"cellhold"
)

func TestTheLastLineHasIDsStatusTimeAndFiles(t *testing.T) {
	begun := time.Unix(1000, 0)
	_, text := answer(t, cellhold.Cell{
		Status: cellhold.StatusOK, Started: begun, Ended: begun.Add(400 * time.Millisecond),
		Files:   []cellhold.CellFile{{Path: "/workspace/plot.png"}, {Path: "/mnt/data/output/a\nb.csv"}},
		Outputs: []cellhold.Output{{Type: cellhold.EventStream, Name: "stdout", Text: "hello"}},
	})
	want := "hello\n[session s1 · cell c1 · ok · 0.4 s · wrote \"plot.png\", \"/mnt/data/output/a\ufffdb.csv\"]"
	if text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestAnExceptionEndsTheAnswerWithItsTraceback(t *testing.T) {
	value := "division by zero"
	got, text := answer(t, cellhold.Cell{Status: cellhold.StatusError, Outputs: []cellhold.Output{
		{Type: cellhold.EventStream, Name: "stdout", Text: strings.Repeat("much output\n", 5000)},
		{Type: cellhold.EventError, ErrorName: "ZeroDivisionError", ErrorValue: &value, Traceback: []string{"\x1b[31mTraceback\x1b[0m", "ZeroDivisionError: division by zero"}},
	}})
	want := "Traceback\nZeroDivisionError: division by zero\n[session s1 · cell c1 · error]"
	if !got.IsError || !strings.HasSuffix(text, want) || len([]rune(text)) > maxFailure+500 {
		t.Errorf("got IsError %v and %d characters that end with %q, want an error that ends with %q", got.IsError, len([]rune(text)), text[max(0, len(text)-120):], want)
	}
}

func TestEachEndOfACellHasItsCauseAndSaysWhatSurvives(t *testing.T) {
	for status, want := range map[cellhold.CellStatus]string{
		cellhold.StatusInterrupted: "Variables survive.",
		cellhold.StatusTimeout:     "Variables survive.",
		cellhold.StatusOOM:         "Variables are lost; files stay.",
		cellhold.StatusExit:        "Variables are lost; files stay.",
		cellhold.StatusLost:        "Variables are lost.",
		cellhold.StatusCancelled:   "The code did not run.",
	} {
		got, text := answer(t, cellhold.Cell{Status: status, Cause: "This is the cause."})
		if !got.IsError || !strings.Contains(text, "This is the cause. "+want) || !strings.Contains(text, " · "+string(status)+"]") {
			t.Errorf("%s: got %q, want the cause and %q", status, text, want)
		}
	}
}

func TestALongAnswerSaysHowToReadTheRest(t *testing.T) {
	_, text := answer(t, cellhold.Cell{Status: cellhold.StatusOK, Outputs: []cellhold.Output{
		{Type: cellhold.EventStream, Name: "stdout", Text: "first\n" + strings.Repeat("x", 3*maxText) + "\nlast\n"}}})
	if n := len([]rune(text)); n > maxText+500 || !strings.HasPrefix(text, "first") || !strings.Contains(text, "last\n[session") {
		t.Errorf("got %d characters, want head, tail and about %d", n, maxText)
	}
	if !strings.Contains(text, `read_file, path "cellhold://s1/cells/c1/stdout"`) {
		t.Errorf("the answer does not say how to read the rest: %.200q", text[maxText/2:])
	}
}

func TestAResultIsShownAsItsText(t *testing.T) {
	data := map[string]json.RawMessage{"text/html": json.RawMessage(`"<table>"`), "text/plain": json.RawMessage(`"  a  b\n0 1  2"`)}
	_, text := answer(t, cellhold.Cell{Status: cellhold.StatusOK, Outputs: []cellhold.Output{{Type: cellhold.EventExecuteResult, Data: data}}})
	if want := "  a  b\n0 1  2\n[session s1 · cell c1 · ok]"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestLinksAreParsedExactly(t *testing.T) {
	if got, err := parseURI(fileURI("sq7h2w9d4kx5n3vtb", "/workspace/a b/ü%.txt")); err != nil || got.path != "/workspace/a b/ü%.txt" || got.session != "sq7h2w9d4kx5n3vtb" {
		t.Errorf("got %+v, %v; want the path of the file", got, err)
	}
	for _, uri := range []string{"", "/x", "cellhold://", "cellhold://sq7h2w9d4kx5n3vtb", "cellhold://sq7h2w9d4kx5n3vtb/files/", "cellhold://sq7h2w9d4kx5n3vtb/files/%zz", "cellhold://sq7h2w9d4kx5n3vtb/cells/cq7h2w9d4kx5n3vtb/secret", "cellhold://../files/x", "cellhold://sq7h2w9d4kx5n3vtb/cells/../stdout", "cellhold://sq7h2w9d4kx5n3vtb/notebook/x", "http://sq7h2w9d4kx5n3vtb/files/x"} {
		if got, err := parseURI(uri); err == nil {
			t.Errorf("%q: got %+v, want an error", uri, got)
		}
	}
}
