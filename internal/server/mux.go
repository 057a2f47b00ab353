package server

import (
	"net/http"
	"slices"
	"strings"

	"cellhold"
)

// route is one entry of the route table. Tests walk it: each route is tried without a token, with
// a foreign one and from a foreign origin.
type route struct {
	method, path string
}

// mux registers all routes.
func (s *Server) mux() (http.Handler, error) {
	m := &table{ServeMux: http.NewServeMux(), server: s}
	api := s.newAPI(m)
	s.article(m, api)
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
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := t.Handler(other); pattern != "/" && !strings.HasSuffix(pattern, "{$}") {
			allow = append(allow, method)
		}
	}
	if len(allow) > 0 && !slices.Contains(allow, r.Method) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		writeProblem(w, newProblem(r.Context(), http.StatusMethodNotAllowed, cellhold.Invalid, "This path does not take this method."))
		return
	}
	writeProblem(w, newProblem(r.Context(), http.StatusNotFound, cellhold.NotFound, "There is nothing at this path. See /docs."))
}
