package server

import (
	"net/http"

	"cellhold/internal/server/e2b"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/envd"
	"cellhold/internal/server/jupyter"
	"cellhold/internal/server/ports"

	"github.com/danielgtaylor/huma/v2"
)

// jupyterRoutes registers the routes for clients of Jupyter.
func (s *Server) jupyterRoutes(m *table, api huma.API) {
	o := jupyter.Options{Sessions: s.sessions, Origins: s.options.Origins, OlderForm: s.options.JupyterOlderForm, Waiters: &s.waiters, Logger: s.log}
	if tokens := s.options.Tokens; tokens != nil {
		o.Caller = tokens.Caller
	}
	s.jupyter = jupyter.Register(m, o)
	s.jupyter.RegisterV1(api, tagSessions, prepare)
}

// e2bRoutes registers the routes for the SDKs of E2B.
func (s *Server) e2bRoutes(all *table) {
	m := access.NewRoutes(all)
	s.guard.Own = func(r *http.Request) bool { return m.Has(r) || jupyter.Owns(r) }
	tokens := s.options.Tokens
	o := access.Options{Find: s.sessions.Find, All: s.sessions.All, Open: tokens == nil, Key: access.NoKey}
	control := e2b.Options{Sessions: s.sessions, Names: s.guard.Hosts, Waiters: &s.waiters, Logger: s.log}
	if tokens != nil {
		o.Key, control.Caller = tokens.Key, tokens.Caller
	}
	control.Access = access.New(o)
	s.ports = ports.New(ports.Options{Dial: s.sessions.DialPort, Waiters: &s.waiters, Caller: control.Caller, Names: s.guard.Hosts, Access: control.Access, Public: s.sessions.HasPublicPorts})
	e2b.Register(m, control)
	s.envd = envd.Register(m, envd.Options{Sessions: s.sessions, Access: control.Access, Waiters: &s.waiters, Logger: s.log})
}
