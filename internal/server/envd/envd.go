// Package envd serves files and processes of sandboxes as E2B's daemon does. Files use HTTP. The services Filesystem
// and Process use the Connect protocol. A sandbox is a session.
//
// The package translates requests, and decides nothing about sessions. Processes are commands of the session.
package envd

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"connectrpc.com/connect"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/envd/filesystempb"
	"cellhold/internal/server/envd/processpb"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// Options configures the routes. All fields are required.
type Options struct {
	Sessions *registry.Registry
	Access   *access.Access
	Waiters  *exchange.Waiters
	Logger   *slog.Logger
}

// Server serves files and processes.
type Server struct {
	o        Options
	watchers watchers
}

// user is the only user of sandboxes, and home is its directory.
const (
	user = "user"
	home = "/home/user"
)

// Register registers the routes. The caller must call Close at the end.
func Register(m access.Mux, o Options) *Server {
	s := &Server{o: o}
	for _, prefix := range []string{access.Prefix, ""} { // in signed URLs, the SDKs drop the prefix from the path
		m.HandleFunc("GET "+prefix+"/files", s.readFile)
		m.HandleFunc("POST "+prefix+"/files", s.writeFiles)
	}
	m.HandleFunc("GET "+access.Prefix+"/health", s.health)
	limit := connect.WithReadMaxBytes(exchange.MaxBody)
	for name, h := range map[string]http.Handler{
		"filesystem.Filesystem/Stat":             connect.NewUnaryHandlerSimple("/filesystem.Filesystem/Stat", unary(s, s.stat), limit),
		"filesystem.Filesystem/MakeDir":          connect.NewUnaryHandlerSimple("/filesystem.Filesystem/MakeDir", unary(s, s.makeDir), limit),
		"filesystem.Filesystem/Move":             connect.NewUnaryHandlerSimple("/filesystem.Filesystem/Move", unary(s, s.move), limit),
		"filesystem.Filesystem/ListDir":          connect.NewUnaryHandlerSimple("/filesystem.Filesystem/ListDir", unary(s, s.listDir), limit),
		"filesystem.Filesystem/Remove":           connect.NewUnaryHandlerSimple("/filesystem.Filesystem/Remove", unary(s, s.remove), limit),
		"filesystem.Filesystem/CreateWatcher":    connect.NewUnaryHandlerSimple("/filesystem.Filesystem/CreateWatcher", unary(s, s.createWatcher), limit),
		"filesystem.Filesystem/GetWatcherEvents": connect.NewUnaryHandlerSimple("/filesystem.Filesystem/GetWatcherEvents", unary(s, s.getWatcherEvents), limit),
		"filesystem.Filesystem/RemoveWatcher":    connect.NewUnaryHandlerSimple("/filesystem.Filesystem/RemoveWatcher", unary(s, s.removeWatcher), limit),
		"filesystem.Filesystem/WatchDir":         connect.NewServerStreamHandlerSimple("/filesystem.Filesystem/WatchDir", streaming[filesystempb.WatchDirRequest, filesystempb.WatchDirResponse](s, s.watchDir), limit),
		"process.Process/List":                   connect.NewUnaryHandlerSimple("/process.Process/List", unary(s, s.list), limit),
		"process.Process/Update":                 connect.NewUnaryHandlerSimple("/process.Process/Update", unary(s, s.update), limit),
		"process.Process/SendInput":              connect.NewUnaryHandlerSimple("/process.Process/SendInput", unary(s, s.sendInput), limit),
		"process.Process/SendSignal":             connect.NewUnaryHandlerSimple("/process.Process/SendSignal", unary(s, s.sendSignal), limit),
		"process.Process/CloseStdin":             connect.NewUnaryHandlerSimple("/process.Process/CloseStdin", unary(s, s.closeStdin), limit),
		"process.Process/Start":                  connect.NewServerStreamHandlerSimple("/process.Process/Start", streaming[processpb.StartRequest, processpb.StartResponse](s, s.start), limit),
		"process.Process/Connect":                connect.NewServerStreamHandlerSimple("/process.Process/Connect", streaming[processpb.ConnectRequest, processpb.ConnectResponse](s, s.connect), limit),
		"process.Process/StreamInput":            connect.NewClientStreamHandlerSimple("/process.Process/StreamInput", s.streamInput, limit),
	} {
		m.HandleFunc("POST "+access.Prefix+"/"+name, s.procedure(h))
	}
	return s
}

// Close ends all watchers and waits for them.
func (s *Server) Close() { s.watchers.close() }

// IsLong reports whether the body of a request can be long: an upload, or the input of a process.
func IsLong(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	p := strings.TrimPrefix(r.URL.Path, access.Prefix)
	return p == "/files" || p == "/process.Process/StreamInput"
}

// call is a request to a sandbox.
type call struct {
	session *session.Session
	user    string // as the client named it; "" means the default
	ping    time.Duration
	w       http.ResponseWriter // only for exchange.Stream; Connect writes the answer
}

type callKey struct{}

// callOf returns the call of a context.
func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// procedure returns the handler of a procedure. It finds the sandbox before it checks the token.
func (s *Server) procedure(h http.Handler) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		sandbox := s.admit(w, r)
		if sandbox == nil {
			return
		}
		ctx, leave := s.o.Waiters.Enter(r.Context())
		defer leave()
		answer := &flushing{w, http.NewResponseController(w)}
		c := &call{session: sandbox, user: userOf(r), ping: pingOf(r), w: answer}
		r = r.WithContext(context.WithValue(ctx, callKey{}, c))
		if IsLong(r) {
			r.Body = readCloser{exchange.SlowBody(r, inputPause), r.Body}
		}
		h.ServeHTTP(answer, r)
	}
}

// admit returns the sandbox of a request. If it returns nil, it has already answered the request.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) *session.Session {
	return s.o.Access.Admit(w, r, s.o.Access.Envd, http.StatusUnauthorized)
}

// userOf returns the user that a request names.
func userOf(r *http.Request) string {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "basic") {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(plain), ":")
	return name
}

// checkUser refuses users that sandboxes do not have.
func checkUser(name string) error {
	switch name {
	case "", user:
		return nil
	case "root":
		return cellhold.Errorf(cellhold.Denied, "No process of a sandbox can be root here: use the user \"user\".")
	}
	return cellhold.Errorf(cellhold.Invalid, "invalid username: '%.40s'", name)
}

// absolute returns the path that a client means. Relative paths begin at the home directory.
func absolute(p string) string {
	if p == "~" || strings.HasPrefix(p, "~/") {
		return path.Join(home, p[1:])
	}
	if !path.IsAbs(p) {
		return path.Join(home, p)
	}
	return path.Clean(p)
}

// health reports whether a sandbox runs. It never resumes a sandbox. It needs no token, because clients also ask after
// the sandbox was killed.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	sandbox, id := s.o.Access.Target(r)
	switch {
	case sandbox == nil || !access.Running(sandbox):
		access.WriteGone(w, id)
	case access.PortOf(r) == access.CodePort:
		exchange.WriteJSON(w, http.StatusOK, "application/json", "OK")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// flushing is a ResponseWriter that Connect can flush.
type flushing struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Flush sends what was written.
func (f *flushing) Flush() { _ = f.control.Flush() } // fails only if the client left, which the next write shows

// Unwrap lets http.ResponseController reach the connection.
func (f *flushing) Unwrap() http.ResponseWriter { return f.ResponseWriter }
