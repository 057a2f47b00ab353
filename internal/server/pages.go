package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"cellhold/internal/server/docs"

	"github.com/danielgtaylor/huma/v2"
)

// landing is the page at the root path, for browsers.
var landing = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("landing").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cellhold</title>
<link rel="icon" href="/docs/icon.svg">
<link rel="stylesheet" href="/docs/style.css">
<nav><a class="home" href="/">cellhold</a><a href="/docs">API documentation</a><a href="/openapi.json">openapi.json</a></nav>
<main>
<h1>cellhold</h1>
<p>Runs code in stateful Jupyter kernels inside gVisor sandboxes. The server is running. <a href="/docs">The API documentation</a> describes the API and lets you try it.</p>
<pre>{{.}}</pre>
</main>
`))
})

// sample returns an example command to paste. The reader must set TOKEN.
func sample(url string, auth bool) string {
	token := ""
	if auth {
		token = ` -H "Authorization: Bearer $TOKEN"`
	}
	return fmt.Sprintf(`ID=$(curl -s -X POST %[1]s/v1/sessions%[2]s | sed 's/^{"id":"\([^"]*\)".*/\1/')
curl -s "%[1]s/v1/sessions/$ID/cells?wait=30s"%[2]s \
  -H "Content-Type: application/json" -d '{"code": "6 * 7"}'`, url, token)
}

// pages registers the documentation pages and the OpenAPI document.
func (s *Server) pages(m *table, api huma.API) error {
	page, err := docs.Render(api.OpenAPI())
	if err != nil {
		return err
	}
	asJSON, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	asYAML, err := api.OpenAPI().YAML()
	if err != nil {
		return fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	for path, asset := range map[string]struct {
		mediaType string
		content   []byte
	}{
		"/docs":           {"text/html; charset=utf-8", page},
		"/docs/style.css": {"text/css; charset=utf-8", docs.Style},
		"/docs/script.js": {"text/javascript; charset=utf-8", docs.Script},
		"/docs/icon.svg":  {"image/svg+xml", docs.Icon},
		"/openapi.json":   {"application/openapi+json", asJSON},
		"/openapi.yaml":   {"application/openapi+yaml", asYAML},
	} {
		m.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			servePage(w, asset.mediaType, asset.content)
		})
	}
	m.HandleFunc("GET /{$}", s.landing)
	return nil
}

func (s *Server) landing(w http.ResponseWriter, r *http.Request) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	text := sample(scheme+"://"+r.Host, s.options.Tokens != nil) // the guard has checked Host
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		servePage(w, "text/plain; charset=utf-8", []byte("cellhold runs code in stateful Jupyter kernels inside gVisor sandboxes. The API documentation is at /docs.\n\n"+text+"\n"))
		return
	}
	var page bytes.Buffer
	if err := landing().Execute(&page, text); err != nil {
		s.failStream(w, r, err, true)
		return
	}
	servePage(w, "text/html; charset=utf-8", page.Bytes())
}

func servePage(w http.ResponseWriter, mediaType string, content []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Security-Policy", docs.Policy)
	h.Set("Cache-Control", "no-cache") // another version of the program can have other pages
	_, _ = w.Write(content)
}
