package server

import (
	"net/http"

	"cellhold/internal/mcp"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/inside"
)

// toolRoutes registers /mcp, the tools for AI agents. The guard has checked the caller before a request arrives here.
func (s *Server) toolRoutes(m *table) {
	s.tools = mcp.New(mcp.Options{Version: s.options.Version, Network: s.sessions.Network(), MaxBody: exchange.MaxBody, Logger: s.log})
	handler := s.tools.Handler(func(r *http.Request) (mcp.Caller, error) {
		name := exchange.Caller(r.Context())
		label := r.URL.Query().Get("session")
		if err := mcp.CheckName(label); err != nil {
			return mcp.Caller{}, err
		}
		calls, err := inside.Client(s.log, m.ServeMux, name)
		return mcp.Caller{Name: name, Client: calls, Session: label}, err
	})
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		m.HandleFunc(method+" /mcp", handler.ServeHTTP)
	}
	m.HandleFunc("GET /mcp", func(w http.ResponseWriter, r *http.Request) {
		ctx, leave := s.waiters.Enter(r.Context()) // a GET waits for notifications until the server shuts down
		defer leave()
		handler.ServeHTTP(w, r.WithContext(ctx))
	})
}
