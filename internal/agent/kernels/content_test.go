package kernels

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// FuzzContent decodes the same content as each type of output.
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
		if !json.Valid(content) { // the jupyter package guarantees valid JSON
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

func TestBothEndsOfALongTracebackAreKept(t *testing.T) {
	many := append(append([]string{"where it began"}, make([]string, 100_000)...), "the reason")
	c := shorten(cellhold.ErrorContent{Value: strings.Repeat("v", 1<<20), Traceback: many})
	n := len(c.Traceback)
	if n > guestapi.MaxTraceback/guestapi.TracebackLine || c.Traceback[0] != "where it began" || c.Traceback[n-1] != "the reason" || len(c.Value) > guestapi.MaxErrorText {
		t.Errorf("%d lines from %q to %q", n, c.Traceback[0], c.Traceback[n-1])
	}
	if all := strings.Join(c.Traceback, ""); !strings.Contains(all, fmt.Sprintf("[... %d lines of the traceback left out]", 100_002-(n-1))) {
		t.Errorf("the traceback does not say how many lines are missing")
	}
	c = shorten(cellhold.ErrorContent{Traceback: []string{"began" + strings.Repeat("é", 1<<20) + "reason"}})
	if one := c.Traceback[0]; len(one) > guestapi.MaxTraceback || !utf8.ValidString(one) || !strings.HasPrefix(one, "began") || !strings.HasSuffix(one, "reason") {
		t.Errorf("%d bytes of one long line are kept", len(one))
	}
}

func TestTheErrorLineOfADeadProcessIsFound(t *testing.T) {
	for output, want := range map[string]string{
		"":                  "",
		"starting\nready\n": "",
		"warning\nModuleNotFoundError: No module named 'x'\n":       "ModuleNotFoundError: No module named 'x'",
		"an error\nFatal Python error: Segmentation fault\n\nerror": "Fatal Python error: Segmentation fault",
		"Error: \x1b[31m\xff": "Error:  [31m\uFFFD",
	} {
		if got := errorLine(output); got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}

func TestTheDescriptionOfAKernelFitsIntoItsEvent(t *testing.T) {
	for _, size := range []int{guestapi.MaxInfoText - 1, guestapi.MaxInfoText, guestapi.MaxInfoText + 1, 1 << 20} {
		name := strings.Repeat("x", size)
		info := kernelInfo(jupyter.KernelSpec{DisplayName: name, Language: name}, jupyter.KernelInfo{LanguageInfo: jupyter.LanguageInfo{Name: name}})
		for _, text := range []string{info.DisplayName, info.Language} {
			if n := utf8.RuneCountInString(text); n > guestapi.MaxInfoText || size < guestapi.MaxInfoText && text != name {
				t.Errorf("a name of %d characters has %d", size, n)
			}
		}
		if len(info.LanguageInfo) > guestapi.MaxLanguageInfo {
			t.Errorf("language_info has %d bytes, the limit is %d", len(info.LanguageInfo), guestapi.MaxLanguageInfo)
		}
	}
}
