package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/server/article"
	"cellhold/internal/server/exchange"
)

// route is one entry of the route table. Tests try each route without a token, with a token of another caller
// and from a foreign origin.
type route struct {
	method, path string
}

// public has the paths that need no token. They contain nothing about sessions. Monitors read them, and people who have
// no token yet. All other paths need a token, including unknown paths, so that a new route cannot be open by mistake.
// The routes for SDKs of E2B and for clients of Jupyter check their callers themselves, and a test tries each of them
// without a token.
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
	s.e2bRoutes(m) // makes the proxy of ports, which the API uses
	api := s.newAPI(m)
	article.Register(m, api, article.Options{Sessions: s.sessions, Waiters: &s.waiters, Logger: s.log})
	s.jupyterRoutes(m, api)
	describe(api)
	if err := s.pages(m, api); err != nil {
		return nil, err
	}
	s.toolRoutes(m)
	m.ServeMux.HandleFunc("/", m.notFound)
	return m.ServeMux, nil
}

// table is a ServeMux that records its routes.
type table struct {
	*http.ServeMux
	server *Server
}

// HandleFunc registers "METHOD /path". The path of a file can contain slashes. OpenAPI has no notation for
// that, ServeMux writes it with dots.
func (t *table) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	t.server.routes = append(t.server.routes, route{method, path})
	t.ServeMux.HandleFunc(strings.NewReplacer("/output/{path}", "/output/{path...}", "/{port}/{path}", "/{port}/{path...}").Replace(pattern), h)
}

// notFound answers a request that no route matches: 405 if only the method is wrong, otherwise 404.
func (t *table) notFound(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := t.Handler(other); pattern != "/" && !strings.HasSuffix(pattern, "{$}") {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 && !slices.Contains(allow, r.Method) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		exchange.WriteProblem(w, exchange.NewProblem(r.Context(), http.StatusMethodNotAllowed, cellhold.Invalid, fmt.Sprintf("Method %.20q is not allowed for this path: use %s.", r.Method, strings.Join(allow, " or "))))
		return
	}
	exchange.WriteProblem(w, exchange.NewProblem(r.Context(), http.StatusNotFound, cellhold.NotFound, fmt.Sprintf("Path %.100q not found. See /docs for the paths of this API.", r.URL.Path)))
}
