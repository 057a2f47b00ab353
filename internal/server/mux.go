package server

import (
	"net/http"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/server/article"
	"cellhold/internal/server/door"
)

// route is one entry of the route table. Tests walk it: each route is tried without a token, with
// a foreign one and from a foreign origin.
type route struct {
	method, path string
}

// public are the pages that need no token: they tell nothing about sessions, and monitors and
// people look at them before they have one. Everything else needs a token, a path that leads
// nowhere included, so that a new route cannot be open by oversight.
var public = map[string]bool{
	"/":               true,
	"/docs":           true,
	"/docs/style.css": true,
	"/docs/script.js": true,
	"/docs/icon.svg":  true,
	"/openapi.json":   true,
	"/openapi.yaml":   true,
	"/v1/health":      true,
	"/v1/ready":       true,
	"/v1/version":     true,
}

// mux registers all routes.
func (s *Server) mux() (http.Handler, error) {
	m := &table{ServeMux: http.NewServeMux(), server: s}
	api := s.newAPI(m)
	article.Register(m, api, article.Options{Sessions: s.sessions, Waiters: &s.waiters, Logger: s.log})
	describe(api)
	if err := s.pages(m, api); err != nil {
		return nil, err
	}
	m.ServeMux.HandleFunc("/", m.nowhere)
	return m.ServeMux, nil
}

// table is a ServeMux that remembers its routes.
type table struct {
	*http.ServeMux
	server *Server
}

// HandleFunc registers "METHOD /path". The path of a file may have slashes, which OpenAPI cannot
// say and ServeMux says with dots.
func (t *table) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	t.server.routes = append(t.server.routes, route{method, path})
	t.ServeMux.HandleFunc(strings.Replace(pattern, "/output/{path}", "/output/{path...}", 1), h)
}

// nowhere answers what no route matches: 405 when the path is right and the method is not.
func (t *table) nowhere(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := t.Handler(other); pattern != "/" && !strings.HasSuffix(pattern, "{$}") {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 && !slices.Contains(allow, r.Method) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		door.WriteProblem(w, door.NewProblem(r.Context(), http.StatusMethodNotAllowed, cellhold.Invalid, "This path does not take this method."))
		return
	}
	door.WriteProblem(w, door.NewProblem(r.Context(), http.StatusNotFound, cellhold.NotFound, "There is nothing at this path. See /docs."))
}
