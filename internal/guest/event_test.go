package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// parse makes an event of cell c1 and parses its line.
func parse(t *testing.T, typ cellhold.EventType, content string) guestapi.Event {
	t.Helper()
	line := fmt.Sprintf(`{"seq":2,"time":%q,"cell":"c1","type":%q,"content":%s}`, time.Now().Format(time.RFC3339), typ, content)
	e, err := kernelEvents.parse([]byte(line), true, 1)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOnlyTheFieldsOfATypeArePassedOn(t *testing.T) {
	tests := []struct {
		name          string
		typ           cellhold.EventType
		content, want string
	}{
		{"stream", "stream", `{"name":"stdout","text":"a<b>","more":1}`, `{"name":"stdout","text":"a<b>"}`},
		{"invalid UTF-8", "stream", "{\"name\":\"stdout\",\"text\":\"\xff\"}", `{"name":"stdout","text":"` + "\uFFFD" + `"}`},
		{"half a surrogate pair in text", "stream", `{"name":"stdout","text":"\ud800"}`, `{"name":"stdout","text":"` + "\uFFFD" + `"}`},
		{"lines are joined", "display_data", `{"data":{"text/html":["<b>","x"]},"metadata":{}}`, `{"data":{"text/html":"<b>x"},"metadata":{},"transient":{}}`},
		{"JSON types hold JSON", "display_data", `{"data":{"application/vnd.plotly.v1+json":{"a":[1]},"application/json":7}}`, `{"data":{"application/json":7,"application/vnd.plotly.v1+json":{"a":[1]}},"metadata":{},"transient":{}}`},
		{"half a surrogate pair in JSON", "display_data", `{"data":{"application/json":{"\uDC00":["\ud83d\ude00","\ud800x","\\ud800"]}}}`, `{"data":{"application/json":{"\ufffd":["\ud83d\ude00","\ufffdx","\\ud800"]}},"metadata":{},"transient":{}}`},
		{"other types hold text", "execute_result", `{"data":{"model/x+json":{"a":1},"text/plain":{"a":1},"image/png":null,"a/b":1,"text/x":"y"},"execution_count":2}`, `{"data":{"a/b":"1","model/x+json":"{\"a\":1}","text/plain":"{\"a\":1}","text/x":"y"},"metadata":{},"execution_count":2}`},
		{"an object of an application/ type without +json becomes text", "display_data", `{"data":{"application/vnd.x.v6.json":{"a":"\ud800"}}}`, `{"data":{"application/vnd.x.v6.json":"{\"a\":\"\\ufffd\"}"},"metadata":{},"transient":{}}`},
		{"names that are not MIME types", "display_data", `{"data":{"plain":"a","text/ plain":"a","text/é":"a","":"a","/":"a","a/b\n":["b","c"]}}`, `{"data":{"text/plain":": a\n/: a\na/b\n: bc\nplain: a\ntext/ plain: a\ntext/é: a"},"metadata":{},"transient":{}}`},
		{"one name that is not a MIME type", "display_data", `{"data":{"1":7}}`, `{"data":{"text/plain":"7"},"metadata":{},"transient":{}}`},
		{"numbers in lists", "display_data", `{"data":{"text/html":["a",1],"text/plain":["a",null]}}`, `{"data":{"text/html":"[\"a\",1]","text/plain":"[\"a\",null]"},"metadata":{},"transient":{}}`},
		{"display id of a result", "execute_result", `{"data":{},"transient":{"display_id":"x","y":1},"execution_count":4}`, `{"data":{},"metadata":{},"transient":{"display_id":"x"},"execution_count":4}`},
		{"display id", "update_display_data", `{"data":{},"transient":{"display_id":"x","y":1},"execution_count":3}`, `{"data":{},"metadata":{},"transient":{"display_id":"x"}}`},
		{"metadata", "display_data", `{"data":{},"metadata":{"image/png":{"width":1},"a\u0000":1,"":2}}`, `{"data":{},"metadata":{"image/png":{"width":1}},"transient":{}}`},
		{"error", "error", `{"ename":"E","evalue":"v","traceback":null,"x":1}`, `{"ename":"E","evalue":"v","traceback":[]}`},
		{"end", "cell_done", `{"status":"ok","cause":"a\nb","execution_count":-4,"files_changed":true}`, `{"status":"ok","cause":"a b","files_changed":true}`},
		{"dropped", "output_dropped", `{"bytes":-1,"messages":9223372036854775807}`, `{"bytes":0,"messages":1099511627776}`},
		{"state", "kernel_state", `{"state":"dead","cause":"signal","signal":9,"detail":"x\u0007"}`, `{"state":"dead","cause":"signal","detail":"x ","signal":9}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := parse(t, test.typ, test.content)
			if e.Type != test.typ || string(e.Content) != test.want {
				t.Errorf("%s %s\nwant %s", e.Type, e.Content, test.want)
			}
		})
	}
}

// TestADisplayThatGrowsTooLargeIsReplacedByANote: the agent accepts it, and the user must know that it is missing.
func TestADisplayThatGrowsTooLargeIsReplacedByANote(t *testing.T) {
	for name, value := range map[string]string{
		"characters that become escapes": `"` + strings.Repeat("\u2028", guestapi.MaxEvent/5) + `"`,
		"an object that becomes text":    `{"a":"` + strings.Repeat(`\"`, guestapi.MaxEvent/3) + `"}`,
	} {
		e := parse(t, cellhold.EventUpdateDisplayData, `{"data":{"text/plain":`+strings.ReplaceAll(value, `\u2028`, "\u2028")+`},"metadata":{"a":1},"transient":{"display_id":"x"}}`)
		var c cellhold.DisplayContent
		if json.Unmarshal(e.Content, &c) != nil || len(e.Content) > 1000 || !strings.Contains(string(c.Data["text/plain"]), "bytes was left out") || c.Transient.DisplayID != "x" {
			t.Errorf("%s: the event is %s %.200s", name, e.Type, e.Content)
		}
	}
}

func TestANoteReplacesContentThatDoesNotMatchItsType(t *testing.T) {
	tests := []struct {
		name    string
		typ     cellhold.EventType
		content string
		reason  string
	}{
		{"a type of the host's own", "session_ended", `{"reason":"asked"}`, "its type is unknown"},
		{"another of the host's own", "cell_queued", `{"position":1}`, "its type is unknown"},
		{"an unknown type", "comm_open", `{}`, "its type is unknown"},
		{"a stream of another name", "stream", `{"name":"stdin","text":"x"}`, "its content does not have the form of its type"},
		{"content that is not an object", "clear_output", `null`, "its content does not have the form of its type"},
		{"a field of another type", "clear_output", `{"wait":"yes"}`, "its content does not have the form of its type"},
		{"too long a text", "stream", `{"name":"stdout","text":"` + strings.Repeat("x", guestapi.MaxStream+1) + `"}`, "it has 131073 bytes; the limit is 131072"},
		{"too long a question", "input_request", `{"prompt":"` + strings.Repeat("x", guestapi.MaxPrompt+1) + `"}`, "it has 4097 bytes; the limit is 4096"},
		{"too many types", "display_data", `{"data":{` + keys(guestapi.MaxTypes+1) + `}}`, "it has 65 types or entries of metadata; the limit is 64"},
		{"no JSON", "display_data", `{"data":{]`, "its content does not have the form of its type"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := parse(t, test.typ, test.content)
			if e.Type != cellhold.EventDisplayData || e.Cell != "c1" || e.Seq != 2 || !strings.Contains(string(e.Content), "An output was left out, because "+test.reason) {
				t.Errorf("got %s %.200s", e.Type, e.Content)
			}
		})
	}
}

func TestARefusedEndEndsTheCell(t *testing.T) {
	for _, content := range []string{`{"status":"oom"}`, `{"status":"lost"}`, `{"status":""}`, `[]`, strings.Repeat("[", 500)} {
		e := parse(t, cellhold.EventCellDone, content)
		var c cellhold.CellDoneContent
		if json.Unmarshal(e.Content, &c) != nil || e.Type != cellhold.EventCellDone || c.Status != cellhold.StatusError || !strings.Contains(c.Cause, "was refused, because it") {
			t.Errorf("%.50s became %s %s", content, e.Type, e.Content)
		}
	}
}

func TestARefusedStateOfAKernelIsSkipped(t *testing.T) {
	for _, content := range []string{`{"state":"dead","cause":"oom"}`, `{"state":"happy"}`, `7`} {
		if e := parse(t, cellhold.EventKernelState, content); e.Type != "" || e.Seq != 2 {
			t.Errorf("%s became %s %s", content, e.Type, e.Content)
		}
	}
}

func TestInvalidFilesOfACellAreLeftOut(t *testing.T) {
	file := func(p string) string { return `{"path":"` + p + `","size":1,"modified":"2026-01-02T03:04:05Z"}` }
	many := strings.TrimSuffix(strings.Repeat(file("/workspace/x")+",", guestapi.MaxCellFiles+1), ",")
	for list, want := range map[string]int{
		file("/workspace/a") + "," + file("../b") + "," + file("/workspace/c"): 2,
		file("/" + strings.Repeat("x", guestapi.MaxFilePath)):                  0,
		many: guestapi.MaxCellFiles,
	} {
		e := parse(t, cellhold.EventCellDone, `{"status":"ok","files":[`+list+`]}`)
		var c cellhold.CellDoneContent
		if json.Unmarshal(e.Content, &c) != nil || c.Status != cellhold.StatusOK || len(c.Files) != want || !c.MoreFiles {
			t.Errorf("%.100s: %s with %d files, want %d", list, c.Status, len(c.Files), want)
		}
	}
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"text/x%d":"",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestDataThatCannotBeSkippedIsAnErrorOfTheProtocol: a retry would get the same data.
func TestDataThatCannotBeSkippedIsAnErrorOfTheProtocol(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":             `hello`,
		"nothing":             ``,
		"no number":           `{"type":"clear_output","cell":"c","content":{}}`,
		"a number as text":    `{"seq":"6","type":"clear_output","cell":"c","content":{}}`,
		"the same number":     `{"seq":5,"type":"clear_output","cell":"c","content":{}}`,
		"an earlier number":   `{"seq":-1,"type":"clear_output","cell":"c","content":{}}`,
		"too deep, the same":  `{"seq":5,"type":"clear_output","cell":"c","content":` + strings.Repeat("[", 150),
		"the number too late": `{"content":` + strings.Repeat("[", 150) + strings.Repeat("]", 150) + `,"seq":6}`,
		"too deep a number":   `{"seq":` + strings.Repeat("[", 150) + strings.Repeat("]", 150) + `,"content":{}}`,
	} {
		if e, err := kernelEvents.parse([]byte(line), true, 5); !errors.Is(err, guestapi.ErrForm) || cellhold.KindOf(err) != cellhold.Internal {
			t.Errorf("%s: %+v, %v, want an error of the protocol", name, e, err)
		}
	}
}

func TestTimesOfOtherCenturiesAreReplaced(t *testing.T) {
	for _, when := range []string{"9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"} {
		line := `{"seq":1,"time":"` + when + `","type":"clear_output","cell":"c","content":{}}`
		e, err := kernelEvents.parse([]byte(line), true, 0)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(e.Time); d < 0 || d > time.Minute {
			t.Errorf("%s became %s", when, e.Time)
		}
	}
}

// checkParsed checks that a parsed event is valid, can be encoded, and does not change in a second check.
func checkParsed(t *testing.T, e guestapi.Event) {
	t.Helper()
	if e.Type == "" {
		return
	}
	b, err := json.Marshal(e)
	if err != nil || len(e.Content) > guestapi.MaxEvent || !fits(b, 0, 0) {
		t.Fatalf("the event cannot be encoded: %v %.200s", err, e.Content)
	}
	if kernelChecks[e.Type] == nil || !validCell(e.Cell, e.Type == cellhold.EventKernelState) {
		t.Fatalf("type %q of cell %q", e.Type, e.Cell)
	}
	again, err := kernelChecks[e.Type](e.Content)
	if err != nil || string(again) != string(e.Content) {
		t.Fatalf("a second check changes the event: %v\n%s\n%s", err, e.Content, again)
	}
}

func FuzzEvent(f *testing.F) {
	for _, s := range []string{
		`{"seq":1,"time":"2026-01-02T03:04:05Z","cell":"c1","type":"stream","content":{"name":"stdout","text":"x"}}`,
		`{"seq":1,"cell":"c1","type":"display_data","content":{"data":{"text/plain":["a","b"],"application/json":{"\ud800":"\ud83d\ude00"}},"metadata":{"a":1},"transient":{"display_id":"d"}}}`,
		`{"seq":1,"cell":"c1","type":"execute_result","content":{"data":{"image/png":"AA=="},"metadata":{},"execution_count":1}}`,
		`{"seq":1,"cell":"c1","type":"error","content":{"ename":"E","evalue":"v","traceback":["\u001b[31m"]}}`,
		`{"seq":1,"type":"kernel_state","content":{"state":"idle","kernel":{"name":"n","display_name":"d","language":"l","language_info":{"name":"l"}}}}`,
		`{"seq":1,"cell":"c1","type":"cell_done","content":{"status":"exit","cause":"c","execution_count":1}}`,
		`{"seq":1,"cell":"c1","type":"output_dropped","content":{"bytes":1,"messages":2}}`,
		`{"seq":1,"cell":"c1","type":"clear_output","content":{"wait":true}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := kernelEvents.parse(line, true, 0)
		if err == nil {
			checkParsed(t, e)
		}
	})
}
