package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"cellhold/internal/registry"
	"cellhold/internal/server/article"
	"cellhold/internal/server/docs"
	"cellhold/internal/server/ports"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite api/openapi.yaml")

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// shortCells sets a short default timeout for cells.
func shortCells(o *registry.Options) { o.CellTimeout = 100 * time.Millisecond }

const committed = "../../api/openapi.yaml"

// page returns a public page of a server without sessions.
func page(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	s, _ := newServer(t, new(registry.Registry), nil)
	w, r := newRecorder(), httptest.NewRequest("GET", path, nil)
	r.Host = "localhost"
	s.Handler().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("%s: got status %d with %s, want 200", path, w.Code, w.Body)
	}
	return w
}

func TestTheCommittedDocumentIsTheGeneratedOne(t *testing.T) {
	got := page(t, "/openapi.yaml").Body.Bytes()
	if *update {
		if err := os.WriteFile(committed, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("api/openapi.yaml is out of date; run go test ./internal/server -run Committed -update\n%s", cmp.Diff(string(want), string(got)))
	}
}

func document(t *testing.T) *huma.OpenAPI {
	t.Helper()
	s, _ := newServer(t, new(registry.Registry), nil)
	m := &table{ServeMux: http.NewServeMux(), server: s}
	api := s.newAPI(m)
	article.Register(m, api, article.Options{Sessions: s.sessions, Waiters: &s.waiters, Logger: s.log})
	s.jupyterRoutes(m, api)
	describe(api)
	return api.OpenAPI()
}

// validate checks a JSON value against a schema of the document.
func validate(t *testing.T, doc *huma.OpenAPI, schema *huma.Schema, what string, raw []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	res := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, res)
	for _, err := range res.Errors {
		t.Errorf("%s: %v in %s", what, err, raw)
	}
}

func ref(name string) *huma.Schema { return &huma.Schema{Ref: "#/components/schemas/" + name} }

func TestExamplesFitTheirSchemas(t *testing.T) {
	doc := document(t)
	examples := 0
	for name, s := range doc.Components.Schemas.Map() {
		for member, p := range s.Properties {
			for _, e := range p.Examples {
				examples++
				validate(t, doc, p, name+"."+member, mustJSON(e))
			}
		}
	}
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				if p.Example != nil {
					examples++
					validate(t, doc, p.Schema, path+" "+p.Name, mustJSON(p.Example))
				}
			}
			if op.RequestBody != nil && op.RequestBody.Content["application/json"] != nil {
				examples++
				schema := op.RequestBody.Content["application/json"].Schema
				validate(t, doc, schema, path+" body", mustJSON(docs.Example(doc, schema)))
			}
		}
	}
	if examples < 20 {
		t.Errorf("the document has %d examples, want at least 20", examples)
	}
}

// The test sends the example of each body, and validates the answers against the document.
func TestExamplesOfRequestsAreAcceptedAndTheAnswersFitTheirSchemas(t *testing.T) {
	h := newHarness(t)
	doc := document(t)
	example := func(path, mediaType string) string {
		content := doc.Paths[path].Post.RequestBody.Content[mediaType]
		switch e := content.Example.(type) {
		case nil:
			return string(mustJSON(docs.Example(doc, content.Schema)))
		case string:
			return e
		default:
			validate(t, doc, content.Schema, path, mustJSON(e))
			return string(mustJSON(e))
		}
	}
	made := h.do(201, "POST", "/v1/sessions", example("/v1/sessions", "application/json"))
	validate(t, doc, ref("Session"), "session", made.body)
	path := made.Header.Get("Location")
	code := example("/v1/sessions/{id}/cells", "application/json")
	validate(t, doc, ref("Cell"), "queued cell", h.do(202, "POST", path+"/cells", code).body)
	validate(t, doc, ref("Cell"), "done cell", h.do(200, "POST", path+"/cells?wait=30s", code).body)
	validate(t, doc, ref("CellList"), "cells", h.do(200, "GET", path+"/cells", "").body)
	validate(t, doc, ref("EventPage"), "events", h.do(200, "GET", path+"/events", "").body)
	validate(t, doc, ref("SessionList"), "sessions", h.do(200, "GET", "/v1/sessions", "").body)
	validate(t, doc, ref("FileList"), "files", h.do(200, "GET", path+"/output", "").body)
	validate(t, doc, ref("Problem"), "problem", h.do(404, "GET", "/v1/sessions/x", "").body)
	validate(t, doc, ref("Problem"), "problem of a body", h.do(422, "POST", path+"/cells", "{}").body)
	validate(t, doc, ref("Version"), "version", h.do(200, "GET", "/v1/version", "").body)
	validate(t, doc, ref("Health"), "health", h.do(200, "GET", "/v1/health", "").body)

	form := example("/start_session", "application/x-www-form-urlencoded")
	validate(t, doc, ref("ArticleMessage"), "started", h.do(200, "POST", "/start_session", form).body)
	validate(t, doc, ref("ArticleFailure"), "failure", h.do(400, "POST", "/execute", example("/execute", "application/json")).body)
	validate(t, doc, ref("ArticleReply"), "reply", h.do(200, "POST", "/execute", `{"user_id":"user_test","code":"print x"}`).body)
	validate(t, doc, ref("ArticleInvalid"), "invalid", h.do(422, "POST", "/execute", `{}`).body)
	validate(t, doc, ref("ArticleMessage"), "reset", h.do(200, "POST", "/reset", form).body)
	validate(t, doc, ref("ArticleMessage"), "ended", h.do(200, "POST", "/end_session", form).body)
	validate(t, doc, ref("ArticleDetail"), "unknown", h.do(404, "POST", "/end_session", form).body)
}

func TestTheDocumentHasAllRoutesAndNoOthers(t *testing.T) {
	s, _ := newServer(t, new(registry.Registry), nil)
	doc := document(t)
	described := map[string]bool{}
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op != nil {
				described[op.Method+" "+path] = true
				if op.Summary == "" || len(op.Tags) != 1 {
					t.Errorf("%s %s: got the summary %q and the tags %q, want a summary and one tag", op.Method, path, op.Summary, op.Tags)
				}
			}
		}
	}
	for _, r := range s.routes {
		if strings.HasPrefix(r.path, "/docs") || strings.HasPrefix(r.path, "/openapi") || r.path == "/{$}" || r.path == "/mcp" || strings.HasPrefix(r.path, "/e2b/") || r.path == "/files" || isOfJupyter(r) { // pages, and APIs of others
			continue
		}
		if r.path == ports.RoutePath && r.method != "GET" { // one entry describes all methods
			continue
		}
		if !described[r.method+" "+r.path] {
			t.Errorf("%s %s is not in the document", r.method, r.path)
		}
		delete(described, r.method+" "+r.path)
	}
	if len(described) > 0 {
		t.Errorf("the document has %v, want only routes of the server", described)
	}
}

func TestAllSchemasAreDefinedUsedAndDescribed(t *testing.T) {
	doc := document(t)
	text := page(t, "/openapi.json").Body.String()
	for _, m := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllStringSubmatch(text, -1) {
		if doc.Components.Schemas.Map()[m[1]] == nil {
			t.Errorf("schema %s is used but not defined", m[1])
		}
	}
	for name, s := range doc.Components.Schemas.Map() {
		if !strings.Contains(text, "#/components/schemas/"+name+`"`) && name != "Bye" {
			t.Errorf("schema %s is defined but not used", name)
		}
		for member, p := range s.Properties {
			if p.Ref == "" && p.Description == "" && !strings.HasPrefix(name, "Article") {
				t.Errorf("%s.%s has no description", name, member)
			}
		}
	}
}

func TestTheDocumentationPageLoadsOnlyPagesOfTheServer(t *testing.T) {
	html := page(t, "/docs")
	text := html.Body.String()
	if csp := html.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
		t.Errorf("got the Content-Security-Policy %q, want default-src 'none' without unsafe sources and hosts", csp)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]*)`).FindAllStringSubmatch(text, -1) {
		if m[1] != "" {
			page(t, m[1]) // every asset and link is a public page of the server
		}
	}
	if regexp.MustCompile(`<script>|<style|\son\w+=|\sstyle=|javascript:`).MatchString(text) {
		t.Error("the page has inline script or style, which the Content-Security-Policy forbids")
	}
	for _, want := range []string{"create-session", "submit-cell", "article-execute", "SubmitCell", "curl -X POST", "server-sent events"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if ids[m[1]] {
			t.Errorf("the page has the id %s twice, want it once", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !ids[m[1]] {
			t.Errorf("the page has a link to #%s, want an element with that id", m[1])
		}
	}
}

func TestTheRootPageHasAnExample(t *testing.T) {
	if got := page(t, "/"); !strings.Contains(got.Body.String(), "/docs") || !strings.Contains(got.Body.String(), "http://localhost/v1/sessions") {
		t.Errorf("got %s, want /docs and http://localhost/v1/sessions in it", got.Body)
	}
}
