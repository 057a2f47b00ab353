package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// FuzzContent gives the content of messages to each type of output.
func FuzzContent(f *testing.F) {
	for _, s := range []string{
		`{"name":"stdout","text":"x"}`,
		`{"data":{"text/plain":["a"]},"metadata":{},"transient":{"display_id":"x"},"execution_count":1}`,
		`{"ename":"E","evalue":"v","traceback":["a","b"]}`,
		`{"wait":true}`,
	} {
		f.Add([]byte(s))
	}
	types := []string{"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"}
	f.Fuzz(func(t *testing.T, content []byte) {
		if !json.Valid(content) { // as the jupyter package guarantees
			return
		}
		s := spool.New(guestapi.SpoolBytes, spool.Cell)
		for _, typ := range types {
			output(s, "c1", jupyter.Message{Header: jupyter.Header{MsgType: typ}, Content: content}, spool.Patience{})
		}
		b := s.Read(0, nil)
		n := int64(0)
		for line := range strings.Lines(string(b.Lines)) {
			n++
			var e guestapi.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq != n || !utf8.ValidString(line) || len(line) > guestapi.MaxEvent {
				t.Fatalf("event %d: %v: %.200q", n, err, line)
			}
		}
		if n != b.Last {
			t.Fatalf("%d lines, last number %d", n, b.Last)
		}
	})
}

func TestTheEndOfALongTracebackIsKept(t *testing.T) {
	c := shorten(cellhold.ErrorContent{Value: strings.Repeat("v", 1<<20), Traceback: append(make([]string, 100_000), "the reason")})
	if n := len(c.Traceback); n > maxTraceback/8+2 || c.Traceback[n-1] != "the reason" || len(c.Value) > maxErrorText {
		t.Errorf("%d lines that end in %q", n, c.Traceback[n-1])
	}
}

func TestLastWordsNameTheReason(t *testing.T) {
	for output, want := range map[string]string{
		"":                  "",
		"starting\nready\n": "",
		"warning\nModuleNotFoundError: No module named 'x'\n":       "ModuleNotFoundError: No module named 'x'",
		"an error\nFatal Python error: Segmentation fault\n\nerror": "Fatal Python error: Segmentation fault",
		"Error: \x1b[31m\xff": "Error:  [31m\uFFFD",
	} {
		if got := lastWords(output); got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}
