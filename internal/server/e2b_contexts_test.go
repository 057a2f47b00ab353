package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"cellhold"
)

func TestRequestsTogetherRestartADeadKernelOnce(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{}`)
	b.lines(`{"code":"exit 3"}`)
	answers := make([]string, 4)
	var all sync.WaitGroup
	for i := range answers {
		req := b.request("POST", "49999", "/execute", `{"code":"sleep 50ms\nprint ok"}`)
		all.Go(func() {
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				answers[i] = err.Error()
				return
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			answers[i] = fmt.Sprint(string(text), err)
		})
	}
	all.Wait()
	for _, text := range answers {
		if !strings.Contains(text, `"text":"ok\n"`) || strings.Contains(text, `"error"`) {
			t.Errorf("got %s, want the output without an error", text)
		}
	}
	s, err := h.manager.Session(t.Context(), "ann", cellhold.SessionID(b.ID))
	if err != nil {
		t.Fatal(err)
	}
	restarts, last := 0, s.History().Last()
	for ev, err := range s.History().Watch(t.Context(), 0) {
		var c cellhold.KernelStateContent
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventKernelState && ev.Decode(&c) == nil && c.State == cellhold.KernelRestarting {
			restarts++
		}
		if ev.Seq >= last {
			break
		}
	}
	if restarts != 1 {
		t.Errorf("got %d restarts, want 1", restarts)
	}
}

func TestAContextOfTheCallerIsNoDefaultContext(t *testing.T) {
	b := newHarness(t).box(`{}`)
	var c struct{ ID string }
	b.send(200, "POST", "49999", "/contexts", `{"language":"javascript"}`).decode(t, &c)
	b.lines(`{"code":"set x 1","context_id":"` + c.ID + `"}`)
	if a := b.send(200, "GET", "49999", "/contexts", ""); !strings.Contains(string(a.body), `"id":"toyscript"`) {
		t.Errorf("got the contexts %s, want the default one of JavaScript too", a.body)
	}
	if l := b.lines(`{"code":"get x","language":"javascript"}`); fmt.Sprint(l[len(l)-2]["name"]) != "NameError" {
		t.Errorf("the variable in the default context: got %v, want a NameError", l)
	}
	b.lines(`{"code":"set y 2","language":"javascript"}`)
	b.send(200, "DELETE", "49999", "/contexts/"+c.ID, "")
	if l := b.lines(`{"code":"get y","language":"javascript"}`); fmt.Sprint(l[1]["text"]) != "2" {
		t.Errorf("after the context was removed: got %v, want the variable of the default context", l)
	}
}

func TestARelativeDirectoryOfAContextBeginsAtThatOfTheSandbox(t *testing.T) {
	b := newHarness(t).box(`{}`)
	for dir, want := range map[string]string{"a/../b": "/home/user/b", "~/c": "/home/user/c", "~": "/home/user", "/d/": "/d", "": "/home/user"} {
		var c struct{ CWD string }
		b.send(200, "POST", "49999", "/contexts", `{"language":"toy","cwd":"`+dir+`"}`).decode(t, &c)
		if c.CWD != want {
			t.Errorf("%q: got the directory %q, want %q", dir, c.CWD, want)
		}
	}
}
