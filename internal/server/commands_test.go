package server

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"cellhold"
)

// decodeCommand decodes a command from an answer.
func decodeCommand(t *testing.T, body []byte) cellhold.Command {
	t.Helper()
	var c cellhold.Command
	if err := json.Unmarshal(body, &c); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return c
}

func TestACommandGetsInputAndHasOutputAndEvents(t *testing.T) {
	h := newHarness(t)
	path := h.create() + "/commands"
	c := decodeCommand(t, h.do(200, "POST", path+"?wait=30s", `{"command": "echo hello; warn you; exit 3"}`).body)
	if c.Code != 3 || c.Status != cellhold.CommandExit || c.Stdout.Text != "hello\n" || c.Stderr.Text != "you\n" {
		t.Errorf("got %+v, want status exit, code 3, stdout hello, stderr you", c)
	}
	a := h.do(202, "POST", path, `{"args": ["cat"], "env": {"SECRET": "s3cr3t"}, "cwd": "/tmp"}`)
	one := a.Header.Get("Location")
	for _, step := range []struct {
		query, body string
		status      int
	}{{"", "ab", 200}, {"?offset=0", "abc", 200}, {"?offset=9", "x", 409}, {"?offset=3&eof=true", "", 200}} {
		req := h.request("POST", one+"/stdin"+step.query, step.body)
		req.Header.Set("Content-Type", "application/octet-stream")
		if a := h.send(req); a.StatusCode != step.status {
			t.Errorf("input %q %q: got status %d with %s, want %d", step.query, step.body, a.StatusCode, a.body, step.status)
		}
	}
	done := h.do(200, "GET", one+"?wait=30s", "").body
	if c := decodeCommand(t, done); c.Status != cellhold.CommandOK || c.Stdout.Text != "abc" || c.Dir != "/tmp" || strings.Contains(string(done), "s3cr3t") {
		t.Errorf("got %s, want status ok, stdout abc, directory /tmp, and not the environment", done)
	}
	var page EventPage
	h.do(200, "GET", one+"/events?wait=1s", "").decode(t, &page)
	if n := len(page.Events); n < 3 || page.Events[0].Type != cellhold.EventCommandStarted || page.Events[n-1].Type != cellhold.EventCommandDone {
		t.Errorf("got the events %+v, want at least 3 from command_started to command_done", page)
	}
	var whole EventPage
	h.do(200, "GET", strings.TrimSuffix(path, "/commands")+"/events?limit=5000", "").decode(t, &whole)
	if int64(len(whole.Events)) != whole.Next || whole.Next < page.Next {
		t.Errorf("got %d events of the session up to %d, want equal numbers of at least %d", len(whole.Events), whole.Next, page.Next)
	}
	stream := string(h.do(200, "GET", one+"/events?stream=sse&after=1", "").body)
	// The output of cat for two inputs can be one text or two texts.
	text := ""
	for _, m := range regexp.MustCompile(`"text":"(\w*)"`).FindAllStringSubmatch(stream, -1) {
		text += m[1]
	}
	if strings.Contains(stream, "hello") || strings.Count(stream, "event: command_done") != 1 || text != "abc" {
		t.Errorf("got the stream %s, want the text abc and one command_done of this command only", stream)
	}
	h.do(204, "GET", one+"/events?stream=sse&after=9999", "")
	if list := string(h.do(200, "GET", path, "").body); strings.Count(list, `"status"`) != 2 {
		t.Errorf("got the list %s, want 2 commands", list)
	}
}

func TestACommandCanBeSignalledResizedAndKilled(t *testing.T) {
	h := newHarness(t)
	path := h.create() + "/commands"
	one := h.do(202, "POST", path, `{"command": "stubborn", "tty": {"rows": 24, "cols": 80}}`).Header.Get("Location")
	h.do(204, "POST", one+"/signal", `{"signal": "INT"}`)
	h.do(422, "POST", one+"/signal", `{"signal": "FOO"}`)
	h.do(204, "POST", one+"/resize", `{"rows": 50, "cols": 132}`)
	h.do(422, "POST", one+"/resize", `{"rows": 0, "cols": 132}`)
	h.do(204, "DELETE", one, "")
	if c := decodeCommand(t, h.do(200, "GET", one, "").body); c.Status != cellhold.CommandSignal || c.Signal != "KILL" || c.Code != 137 {
		t.Errorf("got %+v, want status signal, signal KILL, code 137", c)
	}
	h.do(204, "DELETE", one, "")
	h.do(409, "POST", one+"/signal", `{"signal": "INT"}`)
	for _, body := range []string{`{}`, `{"command": "a", "args": ["a"]}`, `{"command": "a", "surprise": 1}`, `{"command": "a", "tty": {"rows": 0, "cols": 1}}`} {
		h.do(422, "POST", path, body)
	}
	h.do(404, "GET", path+"/xnone", "")
	h.do(404, "GET", path+"/xnone/events", "")
}
