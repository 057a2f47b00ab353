// Package jupyter serves the Jupyter Server API, so that Jupyter's clients use sessions as kernels. A kernel is the first
// kernel of a session of the caller. The package contents has the files of these sessions.
//
// It translates, and decides nothing about sessions.
package jupyter

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/exclusive"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/jupyter/contents"
)

// version is the version of jupyter_server that the routes behave like. Clients choose features by it.
const version = "2.21.1"

// Prefix is the second place of the routes, for clients that accept a path. The first place is the root.
const Prefix = "/jupyter"

// Mux registers routes, such as "GET /path".
type Mux interface {
	HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request))
}

// Options configures the routes. Sessions, Waiters and Logger are required.
type Options struct {
	Sessions *registry.Registry
	// Caller returns the name of a token. If it is nil, callers need no token.
	Caller  func(token string) (name string, known bool)
	Origins []string // web origins whose pages can read answers
	// OlderForm lets the server choose the older form of messages even if a client offers the subprotocol.
	OlderForm bool
	Waiters   *exchange.Waiters
	Logger    *slog.Logger
}

// Server serves the routes.
type Server struct {
	Options
	started     time.Time
	specs       specCache
	opening     exclusive.Keys // by caller and path
	binding     exclusive.Keys // by id of the kernel
	connections connections
	arrivals    *arrivals
	contents    *contents.Server
}

// Register registers the routes. The caller must call Close at the end.
func Register(m Mux, o Options) *Server {
	s := &Server{Options: o, started: time.Now(), arrivals: newArrivals()}
	s.contents = contents.New(contents.Options{Folders: s.folders, Session: o.Sessions.Session})
	for pattern, h := range map[string]handler{
		"GET /api/kernels":                 s.listKernels,
		"POST /api/kernels":                s.startKernel,
		"GET /api/kernels/{id}":            s.getKernel,
		"DELETE /api/kernels/{id}":         s.deleteKernel,
		"POST /api/kernels/{id}/interrupt": s.interruptKernel,
		"POST /api/kernels/{id}/restart":   s.restartKernel,
		"GET /api/kernels/{id}/channels":   s.channels,
		"GET /api/kernelspecs":             s.listSpecs,
		"GET /api/kernelspecs/{name}":      s.getSpec,
		"GET /kernelspecs/{name}/{file}":   s.getLogo,
		"GET /api/sessions":                s.listSessions,
		"POST /api/sessions":               s.startSession,
		"GET /api/sessions/{id}":           s.getSession,
		"PATCH /api/sessions/{id}":         s.patchSession,
		"DELETE /api/sessions/{id}":        s.deleteSession,
		"GET /api/status":                  s.status,
		"GET /api/me":                      s.me,
		"GET /api/terminals":               answer([]any{}),
		"GET /tree":                        answer(map[string]string{"message": "This server has the Jupyter Server API, and no pages. Connect a Jupyter client to it."}),
	} {
		s.mount(m, pattern, s.called(h))
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		s.mount(m, method+" /api/{path...}", s.called(notFound))
	}
	for method, h := range map[string]handler{
		http.MethodGet: s.contents.Get, http.MethodPut: s.contents.Put, http.MethodPost: s.contents.Post, http.MethodPatch: s.contents.Patch, http.MethodDelete: s.contents.Delete,
	} {
		s.mount(m, method+" /api/contents", s.called(h)) // without it, the root would be another route
		s.mount(m, method+" /api/contents/{path...}", s.called(h))
	}
	s.mount(m, "GET /files/{path...}", s.called(s.contents.Download))
	s.mount(m, "GET /api", s.open(func(w http.ResponseWriter) { write(w, http.StatusOK, map[string]string{"version": version}) }))
	s.mount(m, "OPTIONS /api/{path...}", s.open(preflight))
	s.mount(m, "OPTIONS /kernelspecs/{path...}", s.open(preflight))
	s.mount(m, "OPTIONS /files/{name}/{path...}", s.open(preflight)) // without the name, /files of E2B would be redirected
	return s
}

// mount registers a route at the root and below Prefix.
func (s *Server) mount(m Mux, pattern string, h func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	for _, prefix := range []string{"", Prefix} {
		m.HandleFunc(method+" "+prefix+path, h)
	}
}

// prefixOf returns the prefix with which the client called a route.
func prefixOf(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, Prefix+"/") {
		return Prefix
	}
	return ""
}

// Close ends all connections and uploads, and waits for them.
func (s *Server) Close() {
	s.contents.Close()
	s.connections.close()
}

// handler answers a request of a caller. After an error it has written nothing.
type handler func(w http.ResponseWriter, r *http.Request, caller string) error

// answer returns a handler that always answers with the same body.
func answer(body any) handler {
	return func(w http.ResponseWriter, _ *http.Request, _ string) error {
		write(w, http.StatusOK, body)
		return nil
	}
}

// called returns the handler of a route that needs a token.
func (s *Server) called(h handler) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		s.allowOrigin(w, r)
		caller, known := s.caller(r)
		if !known {
			if r.ContentLength != 0 {
				w.Header().Set("Connection", "close") // do not read the body
			}
			refuse(w, http.StatusForbidden, "Forbidden")
			return
		}
		exchange.SetCaller(r.Context(), caller)
		if err := h(w, r, caller); err != nil {
			s.fail(w, r, err)
		}
	}
}

// open returns the handler of a route without a token.
func (s *Server) open(h func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		s.allowOrigin(w, r)
		h(w)
	}
}

// allowOrigin lets pages of the configured origins read the answer. The guard has refused all other origins.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(s.Origins, origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "Location")
	}
}

// preflight answers the question of a browser before a request.
func preflight(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Headers", "accept, content-type, authorization, x-xsrftoken")
	w.Header().Set("Access-Control-Allow-Methods", "GET, PUT, POST, PATCH, DELETE, OPTIONS")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// write answers with JSON.
func write(w http.ResponseWriter, status int, body any) {
	exchange.WriteJSON(w, status, "application/json", body)
}

func notFound(http.ResponseWriter, *http.Request, string) error {
	return cellhold.Errorf(cellhold.NotFound, "Path not found. This server has a part of the Jupyter Server API: kernels, sessions and files.")
}
