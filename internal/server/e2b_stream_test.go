package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// session returns the session of a sandbox.
func (b *box) session() *session.Session {
	b.h.t.Helper()
	s, err := b.h.manager.Session(b.h.t.Context(), "ann", cellhold.SessionID(b.ID))
	if err != nil {
		b.h.t.Fatal(err)
	}
	return s
}

// await waits for an event of a type in a session.
func await(t *testing.T, s *session.Session, typ cellhold.EventType) {
	t.Helper()
	for ev, err := range s.History().Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == typ {
			return
		}
	}
}

func TestRelativePathsBeginAtTheDirectoryOfTheSessionOnEveryRoute(t *testing.T) {
	h, dir := newHarness(t), t.TempDir()
	var s cellhold.Session
	h.do(201, "POST", "/v1/sessions", `{"cwd":"`+dir+`"}`).decode(t, &s)
	files := "/v1/sessions/" + string(s.ID) + "/files"
	h.do(200, "PUT", files+"/content?path=a.txt", "content")
	if text, err := os.ReadFile(dir + "/a.txt"); err != nil || string(text) != "content" {
		t.Fatalf("the upload: got %q and %v, want the content in the directory of the session", text, err)
	}
	for name, want := range map[string]string{"": "content", "bytes=3-": "tent"} {
		req := h.request("GET", files+"/content?path=a.txt", "")
		if name != "" {
			req.Header.Set("Range", name)
		}
		if a := h.send(req); string(a.body) != want {
			t.Errorf("a download of %q: got status %d with %q, want %q", name, a.StatusCode, a.body, want)
		}
	}
	for _, path := range []string{"?path=.", "/stat?path=a.txt", "/archive?path=a.txt"} {
		if a := h.do(200, "GET", files+path, ""); !strings.Contains(string(a.body), "a.txt") {
			t.Errorf("GET %s: got %.200q, want the file", path, a.body)
		}
	}
	h.do(201, "POST", files+"/directory?path=d", "")
	h.do(200, "POST", files+"/move?from=a.txt&to=d/b.txt", "")
	if _, err := os.Stat(dir + "/d/b.txt"); err != nil {
		t.Error(err)
	}
	h.do(204, "DELETE", files+"?path=d&recursive=true", "")
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("got %v and %v, want an empty directory", list, err)
	}
}

// formOf returns a form with parts, and its type.
func formOf(t *testing.T, parts int, field, file, content string) (body, contentType string) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for range parts {
		part, err := w.CreateFormFile(field, file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(part, content)
	}
	w.Close()
	return form.String(), w.FormDataContentType()
}

func TestASignedURLWithoutAPathWritesNothing(t *testing.T) {
	h, dir := newHarness(t), t.TempDir()
	b := h.box(`{}`)
	body, contentType := formOf(t, 1, "file", "a.txt", "x")
	body = strings.ReplaceAll(body, "a.txt", dir+"/a.txt")
	signed := sign(b.Envd, "", "write", 0)
	for _, query := range []string{signed, strings.Replace(signed, "path=&", "", 1)} {
		req := h.request("POST", query, body)
		req.Header.Set("Content-Type", contentType)
		if a := h.send(req); a.StatusCode != 400 || !strings.Contains(string(a.body), "path") {
			t.Errorf("%s: got %d with %s, want 400", query, a.StatusCode, a.body)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("got %v and %v, want no file", list, err)
	}
	req := b.request("POST", "49983", "/files", body)
	req.Header.Set("Content-Type", contentType)
	if a := h.send(req); a.StatusCode != 200 {
		t.Errorf("with the token: got %d with %s, want 200", a.StatusCode, a.body)
	}
}

func TestTheWorkForAFormIsBounded(t *testing.T) {
	h := newHarnessWith(t, func(o *registry.Options) { o.MaxUpload = 1 << 20 }, nil)
	b, dir := h.box(`{}`), t.TempDir()
	for name, test := range map[string]struct {
		parts          int
		field, content string
		status         int
	}{
		"many fields": {1001, "x", "", 400}, "a long field": {1, "x", strings.Repeat("x", 100_000), 400},
		"fields and a file": {1000, "x", "", 200}, "more than an upload": {12, "file", strings.Repeat("x", 512<<10), 400},
	} {
		plain, contentType := formOf(t, test.parts, test.field, "a", test.content)
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		fmt.Fprint(w, plain)
		w.Close()
		req := b.request("POST", "49983", "/files?path="+url.QueryEscape(dir+"/f"), packed.String())
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Content-Encoding", "gzip")
		if a := h.send(req); a.StatusCode != test.status {
			t.Errorf("%s: got %d with %s, want %d", name, a.StatusCode, a.body, test.status)
		}
	}
}

func TestAWatchThatWasPausedSaysSoOnce(t *testing.T) {
	h, dir := newHarness(t), t.TempDir()
	b := h.box(`{}`)
	id := `{"watcherId":"` + b.rpc(200, "filesystem.Filesystem/CreateWatcher", `{"path":"`+dir+`"}`)["watcherId"].(string) + `"}`
	before := b.session().Record().Used
	b.rpc(200, "filesystem.Filesystem/GetWatcherEvents", id)
	if used := b.session().Record().Used; !used.After(before) {
		t.Errorf("after a poll: the session was used at %s, want later than %s", used, before)
	}
	for _, path := range []string{"/sandboxes/" + b.ID + "/pause", "/sandboxes/" + b.ID + "/connect"} {
		if a := h.control(annToken, "POST", path, `{}`); a.StatusCode/100 != 2 {
			t.Fatalf("%s: got %d with %s", path, a.StatusCode, a.body)
		}
	}
	if p := b.rpc(503, "filesystem.Filesystem/GetWatcherEvents", id); p["code"] != "unavailable" {
		t.Errorf("got %v, want the end of the watch", p)
	}
	b.rpc(404, "filesystem.Filesystem/GetWatcherEvents", id)
}

func TestASandboxThatDiedIsGone(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{}`)
	a, leave, err := b.session().Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leave()
	if err := h.world.Kill(sandbox.ID(b.session().Record().Sandbox), sandbox.Exit{Code: -1, Signal: 9}); err != nil {
		t.Fatal(err)
	}
	<-a.Context().Done() // the session knows it
	for method, body := range map[string]string{"GET": "", "POST": "x"} {
		if a := b.send(502, method, "49983", "/files?path=/tmp/f", body); !strings.Contains(string(a.body), "was not found") {
			t.Errorf("%s: got %s, want the words that the client recognises", method, a.body)
		}
	}
	b.send(502, "POST", "49999", "/execute", `{"code":"print x"}`)
	if p := b.rpc(503, "filesystem.Filesystem/Stat", `{"path":"/tmp"}`); p["code"] != "unavailable" {
		t.Errorf("got %v, want unavailable", p)
	}
	next, end := b.stream("process.Process/Start", `{"process":{"cmd":"echo"}}`)
	defer end()
	if m := fmt.Sprint(next()); !strings.Contains(m, "unavailable") {
		t.Errorf("got %s, want unavailable", m)
	}
}

// TestInputForAProcessThatEndedIsNotFound: the stream named the process when it ran.
func TestInputForAProcessThatEndedIsNotFound(t *testing.T) {
	b := newHarness(t).box(`{}`)
	next, leave := b.stream("process.Process/Start", `{"process":{"cmd":"cat"},"stdin":true}`)
	defer leave()
	next()
	body, in := io.Pipe()
	req := b.opening("process.Process/StreamInput", "")
	req.Body, req.ContentLength = body, -1
	answer := make(chan string, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		answer <- string(text)
	}()
	data := enveloped(`{"data":{"input":{"stdin":"` + base64.StdEncoding.EncodeToString([]byte("hi\n")) + `"}}}`)
	fmt.Fprint(in, enveloped(`{"start":{"process":{"pid":1000}}}`)+data)
	next() // the input
	b.rpc(200, "process.Process/CloseStdin", `{"process":{"pid":1000}}`)
	next() // the end
	fmt.Fprint(in, data)
	in.Close()
	if got := <-answer; !strings.Contains(got, `"not_found"`) {
		t.Errorf("got %s, want not_found", got)
	}
}

func TestAProcessWithoutATerminalHasNoSize(t *testing.T) {
	b := newHarness(t).box(`{}`)
	next, leave := b.stream("process.Process/Start", `{"process":{"cmd":"cat"},"stdin":true}`)
	defer leave()
	next()
	if p := b.rpc(400, "process.Process/Update", `{"process":{"pid":1000},"pty":{"size":{"rows":10,"cols":10}}}`); p["code"] != "failed_precondition" {
		t.Errorf("got %v, want failed_precondition", p)
	}
}

func TestACommandWithoutInputEndsAlsoIfItsCallerLeft(t *testing.T) {
	b := newHarness(t).box(`{}`)
	a, leave, err := b.session().Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	left, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := a.StartCommand(left, attachment.CommandRequest{Line: "cat", NoInput: true, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if c, err := b.session().History().WaitCommand(waiting, c.ID); err != nil || c.Status != cellhold.CommandOK {
		t.Errorf("got the status %s and %v, want a command that ended well", c.Status, err)
	}
}
