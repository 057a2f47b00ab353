package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cellhold"
)

// asked returns the body of a question. The toy kernel answers with the rest of code that begins with "reply ".
func asked(t *testing.T, code string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"code": code})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAKernelCompletesCode(t *testing.T) {
	h := newHarness(t)
	at := h.create()
	var c cellhold.Completion
	h.do(200, "POST", at+"/complete", asked(t, `reply {"matches":["print","\u001b]0;x"],"cursor_start":2,"cursor_end":5,"metadata":{"_jupyter_types_experimental":[{"text":"print","type":"function"}]},"status":"ok"}`)).decode(t, &c)
	if len(c.Matches) != 2 || c.Matches[0] != (cellhold.CompletionMatch{Text: "print", Type: "function"}) || c.Start != 2 || c.End != 5 || c.Truncated {
		t.Errorf("got %+v", c)
	}
	for _, kernel := range []string{at + "/complete", at + "/inspect", at + "/is-complete"} {
		h.do(404, "POST", kernel, `{"code":"x","kernel":"none"}`)
	}
	h.do(422, "POST", at+"/complete", `{"code":"x","cursor":2}`)
	h.do(422, "POST", at+"/inspect", `{"code":"x","level":2}`)
}

// TestAnswersOfAHostileKernelHaveLimits: the answers of all sessions share the memory of the server.
func TestAnswersOfAHostileKernelHaveLimits(t *testing.T) {
	h := newHarness(t)
	at := h.create()
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprint("m", i)
	}
	many[1] = strings.Repeat("x", 2000)
	list, _ := json.Marshal(many)
	for _, test := range []struct {
		name, reply    string
		matches, start int
	}{
		{"too many matches, and a long one", `{"status":"ok","matches":` + string(list) + `,"cursor_start":1,"cursor_end":3}`, 1000, 1},
		{"a range outside the code", `{"status":"ok","matches":["a"],"cursor_start":-1,"cursor_end":99999999}`, 0, 0},
		{"a range that ends before it begins", `{"status":"ok","matches":["a"],"cursor_start":3,"cursor_end":1}`, 0, 0},
	} {
		var c cellhold.Completion
		h.do(200, "POST", at+"/complete", asked(t, "reply "+test.reply)).decode(t, &c)
		if len(c.Matches) != test.matches || !c.Truncated || test.matches > 0 && c.Start != test.start || c.Start < 0 || c.End < c.Start {
			t.Errorf("%s: got %d matches at %d to %d, truncated is %v", test.name, len(c.Matches), c.Start, c.End, c.Truncated)
		}
	}
	var i cellhold.Inspection
	h.do(200, "POST", at+"/inspect", asked(t, `reply {"status":"ok","found":true,"data":{"text/plain":"`+strings.Repeat("x", 600<<10)+`","text/html":7,"text/latex":"y"}}`)).decode(t, &i)
	if len(i.Data) != 2 || len(i.Data["text/plain"]) != 512<<10+2 || !i.Found || !i.Truncated {
		t.Errorf("got %d texts, the first has %d bytes", len(i.Data), len(i.Data["text/plain"]))
	}
	var c cellhold.Completeness
	h.do(200, "POST", at+"/is-complete", asked(t, `reply {"status":"incomplete","indent":"rm -rf /"}`)).decode(t, &c)
	if c.Status != cellhold.CodeIncomplete || c.Indent != "" {
		t.Errorf("got %+v, want no indent", c)
	}
	h.do(200, "POST", at+"/is-complete", asked(t, `reply {"status":"\u001b[2J"}`)).decode(t, &c)
	if c.Status != cellhold.CodeUnknown {
		t.Errorf("got %+v, want unknown", c)
	}
	for _, reply := range []string{`{"status":"error","ename":"E","evalue":"\u001b]0;no"}`, `{"status":"ok","matches":7}`, `{"status":7}`} {
		if a := h.do(503, "POST", at+"/complete", asked(t, "reply "+reply)); strings.Contains(string(a.body), "\x1b") {
			t.Errorf("%s: got %s", reply, a.body)
		}
	}
}

// TestABusyKernelRefusesQuestionsAtOnce: otherwise a question waits as long as the cell runs.
func TestABusyKernelRefusesQuestionsAtOnce(t *testing.T) {
	h := newHarness(t)
	at := h.create()
	h.run(at, "print one")
	h.do(202, "POST", at+"/cells", `{"code":"loop"}`)
	for _, question := range []string{"complete", "inspect", "is-complete"} {
		if a := h.do(409, "POST", at+"/"+question, `{"code":"x"}`); !strings.Contains(string(a.body), "busy") {
			t.Errorf("%s: got %s, want the reason", question, a.body)
		}
	}
	var list struct{ History []cellhold.HistoryEntry }
	h.do(200, "GET", at+"/history?limit=5", "").decode(t, &list)
	if len(list.History) != 2 || list.History[0].Code != "print one" || list.History[0].ExecutionCount != 1 || list.History[1].Code != "loop" {
		t.Errorf("the history is %+v", list.History)
	}
	h.do(200, "GET", at+"/history?limit=1&kernel="+string(list.History[0].Kernel), "").decode(t, &list)
	if len(list.History) != 1 || list.History[0].Code != "loop" {
		t.Errorf("the newest code is %+v", list.History)
	}
	if h.do(200, "GET", at+"/history?kernel=other", "").decode(t, &list); len(list.History) != 0 {
		t.Errorf("the history of another kernel is %+v", list.History)
	}
	h.do(422, "GET", at+"/history?limit=1001", "")
	h.do(204, "DELETE", at, "")
	for _, question := range []string{"complete", "inspect", "is-complete"} {
		h.do(404, "POST", at+"/"+question, `{"code":"x"}`)
	}
}
