package server

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestASessionWithoutADeadlineGetsNoneByAConnect(t *testing.T) {
	h := newHarness(t)
	id := strings.TrimPrefix(h.create(), "/v1/sessions/")
	for _, step := range []struct {
		path, body string
		status     int
	}{{"connect", `{"timeout":1}`, 200}, {"refreshes", `{"duration":1}`, 204}, {"pause", `{}`, 204}, {"connect", `{"timeout":1}`, 201}} {
		if a := h.control(annToken, "POST", "/sandboxes/"+id+"/"+step.path, step.body); a.StatusCode != step.status {
			t.Errorf("%s: got %d with %s, want %d", step.path, a.StatusCode, a.body, step.status)
		}
		if s := h.shown(id); !s.Deadline.IsZero() || s.AtDeadline != "" {
			t.Errorf("after %s: got the deadline %s %q, want none", step.path, s.Deadline, s.AtDeadline)
		}
	}
}

func TestTheTimeoutOfAPausedSandboxCannotBeSet(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{}`)
	h.control(annToken, "POST", "/sandboxes/"+b.ID+"/pause", "")
	before := h.shown(b.ID).Deadline
	for _, path := range []string{"timeout", "refreshes"} {
		if a := h.control(annToken, "POST", "/sandboxes/"+b.ID+"/"+path, `{"timeout":1000}`); a.StatusCode != 404 {
			t.Errorf("%s: got %d with %s, want 404", path, a.StatusCode, a.body)
		}
	}
	if after := h.shown(b.ID).Deadline; !after.Equal(before) {
		t.Errorf("got the deadline %s, want %s as before", after, before)
	}
}

func TestASandboxIsPausedFromItsDeadlineOnWhileItsCodeRuns(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{"autoPause":true}`)
	res, err := http.DefaultClient.Do(b.request("POST", "49999", "/execute", `{"code":"print begun\nloop"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan() && !strings.Contains(lines.Text(), "begun"); {
	}
	if a := h.control(annToken, "POST", "/sandboxes/"+b.ID+"/timeout", `{"timeout":0}`); a.StatusCode != 204 {
		t.Fatalf("set the timeout: got %d with %s, want 204", a.StatusCode, a.body)
	}
	passed, cancel := context.WithDeadline(t.Context(), h.shown(b.ID).Deadline)
	defer cancel()
	<-passed.Done()
	b.send(502, "GET", "49983", "/health", "")
	b.send(502, "POST", "49999", "/execute", `{"code":"print x"}`)
	b.send(502, "POST", "49983", "/process.Process/Start", "")
	b.send(502, "POST", "49983", "/files?path=/tmp/x", "x")
	if a := h.control(annToken, "GET", "/sandboxes/"+b.ID, ""); !strings.Contains(string(a.body), `"state":"paused"`) {
		t.Errorf("got %s, want the state paused", a.body)
	}
	if a := h.control(annToken, "POST", "/sandboxes/"+b.ID+"/connect", ""); a.StatusCode != 200 {
		t.Errorf("connect: got %d with %s, want 200", a.StatusCode, a.body)
	}
	b.send(204, "GET", "49983", "/health", "")
}

func TestPagesOfSandboxesContinueAfterASandboxThatEnded(t *testing.T) {
	for _, order := range []string{"desc", "asc"} {
		h := newHarness(t)
		var ids []string
		for range 4 {
			ids = append(ids, h.box(`{}`).ID)
		}
		if order == "desc" {
			ids = []string{ids[3], ids[2], ids[1], ids[0]}
		}
		page := func(token string) (string, string) {
			a := h.control(annToken, "GET", "/v2/sandboxes?limit=2&order="+order+"&nextToken="+token, "")
			var list []box
			a.decode(t, &list)
			found := ""
			for _, b := range list {
				found += b.ID + " "
			}
			return found, a.Header.Get("X-Next-Token")
		}
		found, next := page("")
		if want := ids[0] + " " + ids[1] + " "; found != want || next == "" {
			t.Errorf("%s: got the first page %s, want %s", order, found, want)
		}
		h.control(annToken, "DELETE", "/sandboxes/"+ids[1], "") // the last one of the page
		h.control(annToken, "DELETE", "/sandboxes/"+ids[2], "") // the first one of the next page
		if found, next = page(next); found != ids[3]+" " || next != "" {
			t.Errorf("%s: got the second page %s with the token %q, want %s and no token", order, found, next, ids[3])
		}
		if a := h.control(annToken, "GET", "/v2/sandboxes?nextToken=x", ""); a.StatusCode != 400 {
			t.Errorf("an invalid token: got %d with %s, want 400", a.StatusCode, a.body)
		}
	}
}
