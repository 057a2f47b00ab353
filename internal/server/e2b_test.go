package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
)

// box is a sandbox of the E2B API.
type box struct {
	h       *harness
	ID      string `json:"sandboxID"`
	Envd    string `json:"envdAccessToken"`
	Traffic string `json:"trafficAccessToken"`
}

// control sends a request to the control plane, with a token as the API key.
func (h *harness) control(token, method, path, body string) answered {
	h.t.Helper()
	req := h.request(method, "/e2b"+path, body)
	req.Header.Del("Authorization")
	req.Header.Set("X-API-KEY", token)
	return h.send(req)
}

// box creates a sandbox of ann.
func (h *harness) box(body string) *box {
	h.t.Helper()
	a := h.control("e2b_"+annToken, "POST", "/v2/sandboxes", body)
	if a.StatusCode != 201 {
		h.t.Fatalf("create a sandbox: got status %d with %s, want 201", a.StatusCode, a.body)
	}
	b := &box{h: h}
	a.decode(h.t, b)
	return b
}

// shown returns the session of a sandbox as /v1 shows it.
func (h *harness) shown(id string) (s cellhold.Session) {
	h.t.Helper()
	h.do(200, "GET", "/v1/sessions/"+id, "").decode(h.t, &s)
	return s
}

// request returns a request to the sandbox.
func (b *box) request(method, port, path, body string) *http.Request {
	b.h.t.Helper()
	req := b.h.request(method, "/e2b"+path, body)
	req.Header.Del("Authorization")
	req.Header.Set("E2b-Sandbox-Id", b.ID)
	req.Header.Set("E2b-Sandbox-Port", port)
	req.Header.Set("E2B-Traffic-Access-Token", b.Traffic)
	req.Header.Set("X-Access-Token", b.Envd)
	return req
}

func (b *box) send(status int, method, port, path, body string) answered {
	b.h.t.Helper()
	a := b.h.send(b.request(method, port, path, body))
	if a.StatusCode != status {
		b.h.t.Fatalf("%s %s: got status %d with %s, want %d", method, path, a.StatusCode, a.body, status)
	}
	return a
}

// lines runs code and returns the lines of the answer.
func (b *box) lines(body string) []map[string]any {
	b.h.t.Helper()
	var all []map[string]any
	for text := range strings.Lines(string(b.send(200, "POST", "49999", "/execute", body).body)) {
		var l map[string]any
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			b.h.t.Fatalf("%v in the line %q", err, text)
		}
		all = append(all, l)
	}
	return all
}

func TestASandboxOfE2BIsASessionWithADeadline(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{"templateID":"code-interpreter-v1","timeout":60,"metadata":{"a":"b"},"envVars":{"X":"1"},"autoPause":true,"unknown":1}`)
	var s cellhold.Session
	h.do(200, "GET", "/v1/sessions/"+b.ID, "").decode(t, &s)
	if left := time.Until(s.Deadline); left < 50*time.Second || left > time.Minute || s.AtDeadline != cellhold.DeadlineHibernate || s.Dir != "/home/user" || s.Meta["a"] != "b" || s.Resume != cellhold.ResumeOnRequest {
		t.Errorf("got %+v with %s left, want what the request said", s, left)
	}
	var info map[string]any
	h.control(annToken, "GET", "/sandboxes/"+b.ID, "").decode(t, &info)
	if info["state"] != "running" || info["envdVersion"] != "0.5.7" || info["metadata"].(map[string]any)["a"] != "b" {
		t.Errorf("got %v, want a running sandbox", info)
	}
	if a := h.control(annToken, "POST", "/sandboxes/"+b.ID+"/timeout", `{"timeout":600}`); a.StatusCode != 204 {
		t.Errorf("set a timeout: got %d with %s, want 204", a.StatusCode, a.body)
	}
	h.control(annToken, "POST", "/v2/sandboxes/"+b.ID+"/connect", `{"timeout":10}`) // never shortens the life
	h.do(200, "GET", "/v1/sessions/"+b.ID, "").decode(t, &s)
	if left := time.Until(s.Deadline); left < 590*time.Second {
		t.Errorf("after a connect with a shorter timeout: %s left, want 10 minutes", left)
	}
	for _, status := range []int{204, 404} {
		if a := h.control(annToken, "DELETE", "/sandboxes/"+b.ID, ""); a.StatusCode != status {
			t.Errorf("kill: got %d with %s, want %d", a.StatusCode, a.body, status)
		}
	}
}

func TestTheSameIdempotencyKeyGivesTheSameSandbox(t *testing.T) {
	h := newHarness(t)
	create := func(token, body string) answered {
		req := h.request("POST", "/e2b/v2/sandboxes", body)
		req.Header.Set("X-API-KEY", token)
		req.Header.Set("Idempotency-Key", "k")
		return h.send(req)
	}
	var first, second, others box
	create(annToken, `{"timeout":60}`).decode(t, &first)
	create(annToken, `{"timeout":60}`).decode(t, &second)
	create(bobToken, `{"timeout":60}`).decode(t, &others)
	if first.ID == "" || first.ID != second.ID || first.Envd != second.Envd || others.ID == first.ID {
		t.Errorf("got the sandboxes %s, %s and for another caller %s; want the same one twice", first.ID, second.ID, others.ID)
	}
	var forks []struct{ Sandbox box }
	h.control(annToken, "POST", "/sandboxes/"+first.ID+"/fork", "").decode(t, &forks)
	create(annToken, `{"timeout":60}`).decode(t, &second)
	if second.ID != first.ID {
		t.Errorf("after a fork: got %s, want the sandbox %s", second.ID, first.ID)
	}
	if a := create(annToken, `{"timeout":61}`); a.StatusCode != 409 {
		t.Errorf("another request with the key: got %d with %s, want 409", a.StatusCode, a.body)
	}
}

func TestOptionsOfE2BWithoutAMeaningAreRefused(t *testing.T) {
	h := newHarness(t)
	for _, body := range []string{`{"mcp":{"x":{}}}`, `{"iam":{"tokens":{}}, "volumeMounts":[{"name":"v","path":"/v"}]}`, `{"autoPauseMemory":false}`, `{"timeout":-1}`, `{"timeout":90000}`,
		`{"network":{"allowOut":["10.0.0.0/8"]}}`, `{"network":{"denyOut":["example.org"]}}`, `{"network":{"rules":{"a":[]}}}`, `{"allow_internet_access":true}`, `{"envVars":{"A-B":"x"}}`, `{`, `[1]`} {
		var p struct {
			Code    int
			Message string
		}
		a := h.control(annToken, "POST", "/v2/sandboxes", body)
		a.decode(t, &p)
		if a.StatusCode != 400 && a.StatusCode != 403 || p.Code != a.StatusCode || p.Message == "" {
			t.Errorf("%s: got %d with %s, want 400 or 403 and a message", body, a.StatusCode, a.body)
		}
	}
	if a := h.control(annToken, "POST", "/v2/sandboxes", `{"templateID":"none"}`); a.StatusCode != 404 || !strings.Contains(string(a.body), "template 'none' not found") {
		t.Errorf("an unknown template: got %d with %s, want 404", a.StatusCode, a.body)
	}
	if list := h.manager.List("ann"); len(list) != 0 {
		t.Errorf("got the sessions %v after refusals, want none", list)
	}
}

func TestSandboxesAreListedInPagesWithFilters(t *testing.T) {
	h := newHarness(t)
	var ids []string
	for i := range 3 {
		ids = append([]string{h.box(fmt.Sprintf(`{"metadata":{"n":"%d","a&b":"c=ä"}}`, i)).ID}, ids...)
	}
	list := func(query string) (found []string, next string) {
		a := h.control(annToken, "GET", "/v2/sandboxes?"+query, "")
		var all []box
		a.decode(t, &all)
		for _, b := range all {
			found = append(found, b.ID)
		}
		return found, a.Header.Get("X-Next-Token")
	}
	var paged []string
	for next, more := "", true; more; more = next != "" {
		var page []string
		page, next = list("limit=2&nextToken=" + url.QueryEscape(next))
		paged = append(paged, page...)
	}
	if fmt.Sprint(paged) != fmt.Sprint(ids) {
		t.Errorf("pages: got %v, want %v", paged, ids)
	}
	pair := url.Values{url.QueryEscape("a&b"): {url.QueryEscape("c=ä")}, "n": {"1"}}.Encode()
	if found, _ := list("metadata=" + url.QueryEscape(pair)); len(found) != 1 || found[0] != ids[1] {
		t.Errorf("metadata: got %v, want %s", found, ids[1])
	}
	for query, want := range map[string]int{"state=paused": 0, "state=running,paused": 3, "startedAfter=2020-01-01T00:00:00.000Z": 3, "startedAfter=2120-01-01T00:00:00.000Z": 0, "template=base": 3, "template=other": 0, "order=asc": 3} {
		if found, _ := list(query); len(found) != want {
			t.Errorf("%s: got %v, want %d sandboxes", query, found, want)
		}
	}
	if a := h.control(bobToken, "GET", "/v2/sandboxes", ""); string(bytes.TrimSpace(a.body)) != "[]" {
		t.Errorf("another caller: got %s, want an empty list", a.body)
	}
}

func TestAPausedSandboxIsGoneUntilItIsConnected(t *testing.T) {
	h := newHarness(t)
	closed, open := h.box(`{}`), h.box(`{"autoPause":true,"autoResume":{"enabled":true}}`)
	for _, b := range []*box{closed, open} {
		b.lines(`{"code":"set x 1"}`)
		for _, status := range []int{204, 409} {
			if a := h.control(annToken, "POST", "/sandboxes/"+b.ID+"/pause", `{}`); a.StatusCode != status {
				t.Fatalf("pause: got %d with %s, want %d", a.StatusCode, a.body, status)
			}
		}
		b.send(502, "GET", "49983", "/health", "")
	}
	if a := closed.send(502, "POST", "49999", "/execute", `{"code":"get x"}`); !strings.Contains(string(a.body), "was not found") {
		t.Errorf("got %s, want the words that the client recognises", a.body)
	}
	if a := h.control(annToken, "POST", "/sandboxes/"+closed.ID+"/connect", ""); a.StatusCode != 201 {
		t.Errorf("connect: got %d with %s, want 201", a.StatusCode, a.body)
	}
	for _, b := range []*box{closed, open} { // the second one resumes by use
		if l := b.lines(`{"code":"get x"}`); fmt.Sprint(l[1]["text"]) != "1" {
			t.Errorf("after the pause: got %v, want the variable", l)
		}
		b.send(204, "GET", "49983", "/health", "")
	}
}

func TestEverySandboxRouteNeedsTheTokenOfThisSandbox(t *testing.T) {
	h := newHarness(t)
	mine, other := h.box(`{}`), h.box(`{}`)
	tried := 0
	for _, r := range h.server.routes {
		path, ok := strings.CutPrefix(r.path, "/e2b")
		if !ok || !isOfSandbox(r) || path == "/health" {
			continue
		}
		tried++
		for name, change := range map[string]func(*http.Request){
			"no token": func(q *http.Request) { q.Header.Del("X-Access-Token"); q.Header.Del("E2B-Traffic-Access-Token") },
			"swapped tokens": func(q *http.Request) {
				q.Header.Set("X-Access-Token", mine.Traffic)
				q.Header.Set("E2B-Traffic-Access-Token", mine.Envd)
			},
			"another sandbox": func(q *http.Request) {
				q.Header.Set("X-Access-Token", other.Envd)
				q.Header.Set("E2B-Traffic-Access-Token", other.Traffic)
			},
			"the caller's key": func(q *http.Request) {
				q.Header.Set("X-Access-Token", annToken)
				q.Header.Set("E2B-Traffic-Access-Token", annToken)
			},
			"two tokens": func(q *http.Request) {
				q.Header.Add("X-Access-Token", "x")
				q.Header.Add("E2B-Traffic-Access-Token", "x")
			},
		} {
			req := mine.request(r.method, "49983", strings.ReplaceAll(path, "{id}", "toy"), "{}")
			change(req)
			if a := h.send(req); a.StatusCode != 401 && a.StatusCode != 403 {
				t.Errorf("%s %s with %s: got %d with %s, want 401 or 403", r.method, r.path, name, a.StatusCode, a.body)
			}
		}
		for _, id := range []string{"", "s0123456789abcdef", strings.Repeat("x", 4000)} {
			req := mine.request(r.method, "49983", strings.ReplaceAll(path, "{id}", "toy"), "{}")
			req.Header.Set("E2b-Sandbox-Id", id)
			if a := h.send(req); a.StatusCode != 502 || !strings.Contains(string(a.body), "was not found") || len(a.body) > 500 {
				t.Errorf("%s %s for the sandbox %.20q: got %d with %.100s, want 502", r.method, r.path, id, a.StatusCode, a.body)
			}
		}
	}
	if tried < 20 {
		t.Errorf("tried %d routes, want at least 20", tried)
	}
	for _, token := range []string{mine.Envd, mine.Traffic, other.Envd, annToken} {
		if strings.Contains(h.log.String(), token) {
			t.Error("the log has a token")
		}
	}
}

func TestASandboxOfAnotherCallerAnswersLikeAnUnknownOne(t *testing.T) {
	h := newHarness(t)
	mine := h.box(`{}`).ID
	for _, r := range h.server.routes {
		path, ok := strings.CutPrefix(r.path, "/e2b")
		if !ok || isOfSandbox(r) || !strings.Contains(path, "{id}") || strings.HasSuffix(path, "/network") || strings.HasSuffix(path, "/logs") {
			continue
		}
		var answers []string
		for _, id := range []string{mine, "s0123456789abcdef"} {
			a := h.control(bobToken, r.method, strings.ReplaceAll(path, "{id}", id), "")
			answers = append(answers, fmt.Sprint(a.StatusCode, strings.ReplaceAll(string(a.body), id, "ID")))
		}
		if !strings.HasPrefix(answers[0], "404") || answers[0] != answers[1] {
			t.Errorf("%s %s: got %q, want 404 twice", r.method, path, answers)
		}
	}
}

func TestCodeIsStreamedAsLines(t *testing.T) {
	b := newHarness(t).box(`{}`)
	for body, want := range map[string]string{
		`{"code":"print a\nwarn b\nresult 'c'","env_vars":null,"context_id":null}`: `number_of_executions stdout:"a\n" stderr:"b\n" result:"c" end_of_execution`,
		`{"code":"error E bad"}`:                  `number_of_executions error:"E" end_of_execution`,
		`{"code":"display text/html <b>"}`:        `number_of_executions result: end_of_execution`,
		`{"code":"display x/y <b>"}`:              `number_of_executions result: end_of_execution`,
		`{"code":"display e2b/data {\"a\":[1]}"}`: `number_of_executions result: end_of_execution`,
		`{"code":"display e2b/data [1]"}`:         `number_of_executions result: end_of_execution`,
		`{"code":"exit 3"}`:                       `number_of_executions error:"KernelDied" end_of_execution`,
	} {
		var got []string
		for _, l := range b.lines(body) {
			text := fmt.Sprint(l["type"])
			switch text {
			case "stdout", "stderr":
				text += fmt.Sprintf(":%q", l["text"])
			case "result":
				text += ":"
				if l["text"] != nil {
					text += fmt.Sprintf("%q", l["text"])
				}
				if strings.Contains(body, "{\\\"a") && fmt.Sprint(l["data"]) != "map[a:[1]]" || strings.Contains(body, "[1]\"}") && !strings.Contains(body, "{\\\"a") && l["data"] != nil {
					t.Errorf("%s: got the data %v", body, l["data"])
				}
			case "error":
				text += fmt.Sprintf(":%q", l["name"])
			}
			got = append(got, text)
		}
		if joined := strings.Join(got, " "); joined != want && !(strings.Contains(body, "exit") && strings.HasSuffix(joined, `error:"KernelDied" end_of_execution`)) {
			t.Errorf("%s: got %s, want %s", body, joined, want)
		}
	}
	for body, status := range map[string]int{`{"code":1}`: 422, `{}`: 422, `{"code":"x","context_id":"a","language":"b"}`: 400, `{"code":"x","context_id":"none"}`: 404, `{"code":"x","language":"cobol"}`: 400} {
		b.send(status, "POST", "49999", "/execute", body)
	}
}

func TestAClientThatLeavesInterruptsOnlyItsCode(t *testing.T) {
	b := newHarness(t).box(`{}`)
	var first sync.WaitGroup
	defer first.Wait()
	for _, before := range []string{"", `{"code":"sleep 200ms"}`} { // the code runs, or is queued
		if before != "" {
			first.Go(func() {
				if res, err := http.DefaultClient.Do(b.request("POST", "49999", "/execute", before)); err == nil {
					res.Body.Close()
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		res, err := http.DefaultClient.Do(b.request("POST", "49999", "/execute", `{"code":"print begun\nloop"}`).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() && !strings.Contains(lines.Text(), "begun") {
		}
		cancel()
		res.Body.Close()
		if l := b.lines(`{"code":"print free"}`); fmt.Sprint(l[1]["text"]) != "free\n" {
			t.Errorf("the next code: got %v, want its output", l)
		}
	}
}

func TestAKilledSandboxBreaksTheStream(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{}`)
	res, err := http.DefaultClient.Do(b.request("POST", "49999", "/execute", `{"code":"print begun\nloop"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for text := ""; !strings.Contains(text, "begun"); {
		if text, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	h.control(annToken, "DELETE", "/sandboxes/"+b.ID, "")
	if rest, err := io.ReadAll(lines); err == nil {
		t.Errorf("after the kill: got the rest %q without an error, want a broken answer", rest)
	}
	b.send(502, "GET", "49983", "/health", "")
}

func TestContextsAreKernels(t *testing.T) {
	b := newHarness(t).box(`{}`)
	var c struct{ ID, Language, CWD string }
	b.send(200, "POST", "49999", "/contexts", `{"language":"toy"}`).decode(t, &c)
	b.lines(`{"code":"set x 1","context_id":"` + c.ID + `"}`)
	if l := b.lines(`{"code":"get x"}`); fmt.Sprint(l[len(l)-2]["name"]) != "NameError" {
		t.Errorf("the variable in another context: got %v, want a NameError", l)
	}
	if a := b.send(200, "GET", "49999", "/contexts", ""); !strings.Contains(string(a.body), `"id":"`+c.ID+`"`) || c.CWD != "/home/user" {
		t.Errorf("got %+v and the list %s, want the context in the list", c, a.body)
	}
	b.send(200, "DELETE", "49999", "/contexts/"+c.ID, "")
	b.send(404, "DELETE", "49999", "/contexts/"+c.ID, "")
	b.send(409, "DELETE", "49999", "/contexts/python3", "")
}

func TestTheHostCanNameTheSandboxInPlaceOfThePath(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Hosts = []string{"cells.example"} })
	at := func(host, method, path, body string, header ...string) answered {
		req := h.request(method, path, body)
		req.Host = host
		req.Header.Del("Authorization")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return h.send(req)
	}
	var b box
	at("api.cells.example", "POST", "/v2/sandboxes", `{}`, "X-API-KEY", annToken).decode(t, &b)
	run := at("49999-"+b.ID+".Cells.Example:443", "POST", "/execute", `{"code":"print x"}`, "E2B-Traffic-Access-Token", b.Traffic, "E2b-Sandbox-Id", "another")
	if run.StatusCode != 200 || !strings.Contains(string(run.body), `"text":"x\n"`) {
		t.Errorf("got %d with %s, want the output", run.StatusCode, run.body)
	}
	for host, want := range map[string]int{
		"49983-" + b.ID + ".cells.example": 204, "49983-s0123456789abcdef.cells.example": 502, "8080-" + b.ID + ".cells.example": 403,
		"49983-" + b.ID + ".evil.example": 403, "other.cells.example": 403, "api.api.cells.example": 403,
	} {
		if a := at(host, "GET", "/health", ""); a.StatusCode != want {
			t.Errorf("%s: got %d with %s, want %d", host, a.StatusCode, a.body, want)
		}
	}
}

// sign returns the query of a signed URL.
func sign(token, path, operation string, until int64) string {
	text, q := path+":"+operation+"::"+token, url.Values{"path": {path}}
	if until != 0 {
		text += fmt.Sprintf(":%d", until)
		q.Set("signature_expiration", fmt.Sprint(until))
	}
	sum := sha256.Sum256([]byte(text))
	q.Set("signature", "v1_"+strings.TrimRight(base64.StdEncoding.EncodeToString(sum[:]), "="))
	return "/files?" + q.Encode()
}

func TestSignedURLsReachOneFileOfOneSandbox(t *testing.T) {
	h := newHarness(t)
	b, _ := h.box(`{}`), h.box(`{}`)
	path := t.TempDir() + "/f"
	if a := h.send(h.request("POST", sign(b.Envd, path, "write", 0), "content")); a.StatusCode != 200 {
		t.Fatalf("write: got %d with %s, want 200", a.StatusCode, a.body)
	}
	later, before := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	for name, query := range map[string]string{
		"good": sign(b.Envd, path, "read", later), "for writes": sign(b.Envd, path, "write", 0), "expired": sign(b.Envd, path, "read", before),
		"later by hand":  strings.Replace(sign(b.Envd, path, "read", before), fmt.Sprint(before), fmt.Sprint(later), 1),
		"of another key": sign("x", path, "read", 0), "of no key": sign("", path, "read", 0), "of another path": strings.Replace(sign(b.Envd, path, "read", 0), "%2Ff&", "%2Fg&", 1),
	} {
		req := h.request("GET", query, "")
		req.Header.Del("Authorization")
		a := h.send(req)
		if (name == "good") != (a.StatusCode == 200) || name != "good" && a.StatusCode != 401 {
			t.Errorf("%s: got %d with %s, want 200 only for the good signature", name, a.StatusCode, a.body)
		}
		if name == "expired" && !strings.Contains(string(a.body), "signature is already expired") {
			t.Errorf("expired: got %s, want the reason", a.body)
		}
	}
	if strings.Contains(h.log.String(), "signature") {
		t.Error("the log has a signed URL")
	}
}

func TestFormsNameFilesByTheirWholePath(t *testing.T) {
	b, dir := newHarness(t).box(`{}`), t.TempDir()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	names := []string{dir + "/a/b/1.txt", dir + `/back\slash "quotes" %41.txt`}
	for _, name := range names {
		header := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="file"; filename="` + strings.ReplaceAll(name, `"`, "%22") + `"`}}
		part, err := w.CreatePart(header)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(part, "of ", name)
	}
	w.Close()
	req := b.request("POST", "49983", "/files", form.String())
	req.Header.Set("Content-Type", w.FormDataContentType())
	if a := b.h.send(req); a.StatusCode != 200 {
		t.Fatalf("got %d with %s, want 200", a.StatusCode, a.body)
	}
	for _, name := range names {
		if a := b.send(200, "GET", "49983", "/files?path="+url.QueryEscape(name), ""); string(a.body) != "of "+name {
			t.Errorf("%s: got %q, want its content", name, a.body)
		}
	}
	b.send(404, "GET", "49983", "/files?path=/no/file", "")
	b.send(400, "GET", "49983", "/files?path="+url.QueryEscape(dir), "")
	b.send(401, "GET", "49983", "/files?username=nobody&path="+url.QueryEscape(names[0]), "")
}

// rpc calls a procedure with JSON.
func (b *box) rpc(status int, procedure, body string) map[string]any {
	b.h.t.Helper()
	var out map[string]any
	b.send(status, "POST", "49983", "/"+procedure, body).decode(b.h.t, &out)
	return out
}

func TestFilesAreListedAndChangedByProcedures(t *testing.T) {
	b, dir := newHarness(t).box(`{}`), t.TempDir()
	at := func(name string) string { return `"` + dir + "/" + name + `"` }
	b.rpc(200, "filesystem.Filesystem/MakeDir", `{"path":`+at("d/e")+`}`)
	if p := b.rpc(409, "filesystem.Filesystem/MakeDir", `{"path":`+at("d/e")+`}`); p["code"] != "already_exists" {
		t.Errorf("got %v, want already_exists", p)
	}
	b.send(200, "POST", "49983", "/files?path="+url.QueryEscape(dir+"/d/f.txt"), "x")
	var names []string
	for _, e := range b.rpc(200, "filesystem.Filesystem/ListDir", `{"path":`+at("")+`,"depth":2}`)["entries"].([]any) {
		names = append(names, e.(map[string]any)["name"].(string))
	}
	if fmt.Sprint(names) != "[d e f.txt]" {
		t.Errorf("got %v, want each directory before its content", names)
	}
	b.rpc(200, "filesystem.Filesystem/Move", `{"source":`+at("d/f.txt")+`,"destination":`+at("new/g.txt")+`}`)
	e := b.rpc(200, "filesystem.Filesystem/Stat", `{"path":`+at("new/g.txt")+`}`)["entry"].(map[string]any)
	if e["size"] != "1" || e["permissions"] != "-rw-r--r--" || e["owner"] != "user" || e["type"] != "FILE_TYPE_FILE" {
		t.Errorf("got %v, want a file of one byte", e)
	}
	for range 2 {
		b.rpc(200, "filesystem.Filesystem/Remove", `{"path":`+at("new")+`}`)
	}
	if p := b.rpc(404, "filesystem.Filesystem/Stat", `{"path":`+at("new")+`}`); p["code"] != "not_found" {
		t.Errorf("got %v, want not_found", p)
	}
}

// enveloped returns a message of a stream.
func enveloped(message string) string {
	return string([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}) + message
}

// opening returns the request for a stream of answers.
func (b *box) opening(procedure, body string) *http.Request {
	req := b.request("POST", "49983", "/"+procedure, enveloped(body))
	req.Header.Set("Content-Type", "application/connect+json")
	return req
}

// stream calls a procedure with a stream of answers, and returns a function that reads the next one.
func (b *box) stream(procedure, body string, header ...string) (next func() map[string]any, leave func()) {
	b.h.t.Helper()
	req := b.opening(procedure, body)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.h.t.Fatal(err)
	}
	return func() map[string]any {
		b.h.t.Helper()
		var head [5]byte
		if _, err := io.ReadFull(res.Body, head[:]); err != nil {
			b.h.t.Fatalf("%s: %v", procedure, err)
		}
		text := make([]byte, int(head[3])<<8|int(head[4]))
		var m map[string]any
		if _, err := io.ReadFull(res.Body, text); err != nil || json.Unmarshal(text, &m) != nil {
			b.h.t.Fatalf("%s: %v in %q", procedure, err, text)
		}
		return m
	}, func() { res.Body.Close() }
}

func TestAProcessIsStartedFedAndEnded(t *testing.T) {
	b := newHarness(t).box(`{}`)
	next, leave := b.stream("process.Process/Start", `{"process":{"cmd":"cat"},"stdin":true,"tag":"t"}`)
	defer leave()
	if m := fmt.Sprint(next()); m != "map[event:map[start:map[pid:1000]]]" {
		t.Errorf("got %s, want the start", m)
	}
	b.rpc(200, "process.Process/SendInput", `{"process":{"pid":1000},"input":{"stdin":"`+base64.StdEncoding.EncodeToString([]byte("hi\n"))+`"}}`)
	if m := fmt.Sprint(next()); m != "map[event:map[data:map[stdout:aGkK]]]" {
		t.Errorf("got %s, want the input", m)
	}
	if list := fmt.Sprint(b.rpc(200, "process.Process/List", `{}`)); !strings.Contains(list, "pid:1000") || !strings.Contains(list, "tag:t") {
		t.Errorf("got the list %s, want the process", list)
	}
	b.rpc(200, "process.Process/CloseStdin", `{"process":{"tag":"t"}}`)
	if m := fmt.Sprint(next()); !strings.Contains(m, "end:map[exited:true status:exit status 0]") {
		t.Errorf("got %s, want the end", m)
	}
	if p := b.rpc(404, "process.Process/SendSignal", `{"process":{"pid":1000},"signal":"SIGNAL_SIGKILL"}`); p["code"] != "not_found" {
		t.Errorf("a signal after the end: got %v, want not_found", p)
	}
}

func TestAProcessEndsAtTheTimeoutOfItsRequestAndNotWithTheConnection(t *testing.T) {
	b := newHarness(t).box(`{}`)
	next, leave := b.stream("process.Process/Start", `{"process":{"cmd":"wait"}}`, "Connect-Timeout-Ms: 100")
	next()
	if m := fmt.Sprint(next()); !strings.Contains(m, "deadline_exceeded") {
		t.Errorf("got %s, want deadline_exceeded", m)
	}
	leave()
	if list := b.rpc(200, "process.Process/List", `{}`); list["processes"] != nil {
		t.Errorf("after the timeout: got %v, want no process", list)
	}
	next, leave = b.stream("process.Process/Start", `{"process":{"cmd":"wait"}}`)
	next()
	leave()
	joined, leave := b.stream("process.Process/Connect", `{"process":{"pid":1000}}`)
	defer leave()
	joined()
	b.rpc(200, "process.Process/SendSignal", `{"process":{"pid":1000},"signal":"SIGNAL_SIGTERM"}`)
	if m := fmt.Sprint(joined()); !strings.Contains(m, "exitCode:-1") || strings.Contains(m, "exited") {
		t.Errorf("got %s, want an end by a signal", m)
	}
}

func TestSandboxesHaveOnlyOneUser(t *testing.T) {
	b := newHarness(t).box(`{}`)
	for name, code := range map[string]string{"root": "permission_denied", "nobody": "unauthenticated"} {
		next, leave := b.stream("process.Process/Start", `{"process":{"cmd":"echo"}}`, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(name+":")))
		if m := fmt.Sprint(next()); !strings.Contains(m, code) {
			t.Errorf("%s: got %s, want %s", name, m, code)
		}
		leave()
	}
}

func TestAWatchTellsANewFileFromAReplacedOne(t *testing.T) {
	b, dir := newHarness(t).box(`{}`), t.TempDir()
	write := func(name string) { b.send(200, "POST", "49983", "/files?path="+url.QueryEscape(dir+"/"+name), "x") }
	write("old.txt")
	next, leave := b.stream("filesystem.Filesystem/WatchDir", `{"path":"`+dir+`"}`)
	defer leave()
	watcher := b.rpc(200, "filesystem.Filesystem/CreateWatcher", `{"path":"`+dir+`"}`)["watcherId"].(string)
	if m := fmt.Sprint(next()); m != "map[start:map[]]" {
		t.Errorf("got %s, want the start", m)
	}
	write("old.txt")
	if m := fmt.Sprint(next()); m != "map[filesystem:map[name:old.txt type:EVENT_TYPE_WRITE]]" {
		t.Errorf("a replaced file: got %s, want a write", m)
	}
	write("new.txt")
	for _, kind := range []string{"CREATE", "WRITE"} {
		if m := fmt.Sprint(next()); m != "map[filesystem:map[name:new.txt type:EVENT_TYPE_"+kind+"]]" {
			t.Errorf("a new file: got %s, want %s", m, kind)
		}
	}
	b.rpc(200, "filesystem.Filesystem/GetWatcherEvents", `{"watcherId":"`+watcher+`"}`)
	b.rpc(200, "filesystem.Filesystem/RemoveWatcher", `{"watcherId":"`+watcher+`"}`)
	b.rpc(404, "filesystem.Filesystem/GetWatcherEvents", `{"watcherId":"`+watcher+`"}`)
}

func TestForksAndSnapshotsOfASandboxHaveTokensOfTheirOwn(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{}`)
	b.lines(`{"code":"set x 1"}`)
	var forks []struct{ Sandbox box }
	h.control(annToken, "POST", "/sandboxes/"+b.ID+"/fork", `{"count":2}`).decode(t, &forks)
	if len(forks) != 2 || forks[0].Sandbox.Envd == b.Envd || forks[0].Sandbox.Envd == forks[1].Sandbox.Envd {
		t.Fatalf("got %+v, want two forks with tokens of their own", forks)
	}
	var snapshot struct{ SnapshotID string }
	h.control(annToken, "POST", "/sandboxes/"+b.ID+"/snapshots", `{"name":"s"}`).decode(t, &snapshot)
	copied := h.box(`{"templateID":"` + snapshot.SnapshotID + `"}`)
	for _, c := range []*box{copied, {h: h, ID: forks[0].Sandbox.ID, Envd: forks[0].Sandbox.Envd, Traffic: forks[0].Sandbox.Traffic}} {
		if l := c.lines(`{"code":"get x"}`); fmt.Sprint(l[1]["text"]) != "1" {
			t.Errorf("got %v, want the variable", l)
		}
	}
	for _, status := range []int{204, 404} {
		if a := h.control(annToken, "DELETE", "/templates/"+snapshot.SnapshotID, ""); a.StatusCode != status {
			t.Errorf("delete the snapshot: got %d with %s, want %d", a.StatusCode, a.body, status)
		}
	}
}
