package guest

import (
	"encoding/json"
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
	e, err := parseEvent([]byte(line), 1)
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

func TestContentThatDoesNotMatchItsTypeIsSkipped(t *testing.T) {
	tests := []struct {
		name    string
		typ     cellhold.EventType
		content string
	}{
		{"a type of the host's own", "session_ended", `{"reason":"asked"}`},
		{"another of the host's own", "cell_queued", `{"position":1}`},
		{"an unknown type", "comm_open", `{}`},
		{"a stream of another name", "stream", `{"name":"stdin","text":"x"}`},
		{"an end that only the host can know", "cell_done", `{"status":"oom"}`},
		{"another end of the host", "cell_done", `{"status":"lost"}`},
		{"a missing status", "cell_done", `{"status":""}`},
		{"a death that only the host can know", "kernel_state", `{"state":"dead","cause":"oom"}`},
		{"an unknown state", "kernel_state", `{"state":"happy"}`},
		{"content that is not an object", "clear_output", `null`},
		{"a field of another type", "clear_output", `{"wait":"yes"}`},
		{"too long a text", "stream", `{"name":"stdout","text":"` + strings.Repeat("x", guestapi.MaxStream+1) + `"}`},
		{"too many types", "display_data", `{"data":{` + keys(maxTypes+1) + `}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if e := parse(t, test.typ, test.content); e.Type != "" || e.Seq != 2 {
				t.Errorf("got %s %.100s", e.Type, e.Content)
			}
		})
	}
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"text/x%d":"",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestAnEventThatBreaksTheProtocolIsAnError(t *testing.T) {
	deep := strings.Repeat("[", 150) + strings.Repeat("]", 150)
	wide := `{"ename":"","evalue":"","traceback":["` + strings.Repeat(`","`, 30_000) + `"]}`
	for name, line := range map[string]string{
		"no JSON":           `hello`,
		"the same number":   `{"seq":5,"type":"clear_output","cell":"c","content":{}}`,
		"an earlier number": `{"seq":-1,"type":"clear_output","cell":"c","content":{}}`,
		"too deep":          `{"seq":6,"type":"display_data","cell":"c","content":{"data":{"application/json":` + deep + `}}}`,
		"too wide":          `{"seq":6,"type":"error","cell":"c","content":` + wide + `}`,
	} {
		if _, err := parseEvent([]byte(line), 5); cellhold.KindOf(err) != cellhold.Internal {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
}

func TestTimesOfOtherCenturiesAreReplaced(t *testing.T) {
	for _, when := range []string{"9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"} {
		line := `{"seq":1,"time":"` + when + `","type":"clear_output","cell":"c","content":{}}`
		e, err := parseEvent([]byte(line), 0)
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
	if checks[e.Type] == nil || !validCell(e.Cell, e.Type == cellhold.EventKernelState) {
		t.Fatalf("type %q of cell %q", e.Type, e.Cell)
	}
	again, err := checks[e.Type](e.Content)
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
		e, err := parseEvent(line, 0)
		if err == nil {
			checkParsed(t, e)
		}
	})
}
