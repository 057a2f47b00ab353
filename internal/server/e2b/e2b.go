// Package e2b serves the API with which the SDKs of E2B create sandboxes and run code in them. A sandbox is a session.
//
// It translates, and decides nothing about sessions. Options that have no meaning here are refused. Package envd serves
// files and processes of sandboxes.
package e2b

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"cellhold"
	"cellhold/internal/exclusive"
	"cellhold/internal/registry"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// Options configures the routes. All fields are required, except for Caller and Names.
type Options struct {
	Sessions *registry.Registry
	Names    []string // names of the server; PORT-ID.NAME is the host of a port
	Access   *access.Access
	// Caller returns the name of the token in an API key. If it is nil, callers need no key.
	Caller  func(key string) (name string, known bool)
	Waiters *exchange.Waiters
	Logger  *slog.Logger
}

// door has the handlers.
type door struct {
	Options
	inTurn exclusive.Keys // held while a default kernel starts, or a dead kernel restarts
}

// Register registers the routes of the control plane and of the code server.
func Register(m access.Mux, o Options) {
	d := &door{Options: o}
	for pattern, h := range map[string]answerer{
		"POST /sandboxes":                 d.create,
		"POST /v2/sandboxes":              d.create,
		"GET /sandboxes":                  d.list,
		"GET /v2/sandboxes":               d.list,
		"GET /sandboxes/{id}":             d.info,
		"DELETE /sandboxes/{id}":          d.kill,
		"POST /sandboxes/{id}/timeout":    d.setTimeout,
		"POST /sandboxes/{id}/refreshes":  d.refresh,
		"POST /sandboxes/{id}/pause":      d.pause,
		"POST /sandboxes/{id}/resume":     d.connect,
		"POST /sandboxes/{id}/connect":    d.connect,
		"POST /v2/sandboxes/{id}/connect": d.connect,
		"POST /sandboxes/{id}/fork":       d.fork,
		"GET /sandboxes/{id}/metrics":     d.metrics,
		"POST /sandboxes/{id}/snapshots":  d.snapshot,
		"GET /snapshots":                  d.snapshots,
		"DELETE /templates/{name}":        d.deleteSnapshot,
		"PUT /sandboxes/{id}/network":     unsupported("The network access of a running sandbox cannot be changed: set it when you create the sandbox."),
		"GET /sandboxes/{id}/logs":        unsupported("This server has no logs of sandboxes: read the events of the session at /v1/sessions/{id}/events."),
		"GET /templates":                  unsupported(noTemplates),
		"POST /templates":                 unsupported(noTemplates),
		"POST /v2/templates":              unsupported(noTemplates),
		"POST /v3/templates":              unsupported(noTemplates),
		"GET /volumes":                    unsupported("This server has no volumes."),
		"POST /volumes":                   unsupported("This server has no volumes."),
		"GET /secrets":                    unsupported(noSecrets),
		"POST /secrets":                   unsupported(noSecrets),
	} {
		method, path, _ := strings.Cut(pattern, " ")
		m.HandleFunc(method+" "+access.Prefix+path, d.control(h))
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		m.HandleFunc(method+" "+access.Prefix+"/", d.control(unknown))
	}
	for pattern, h := range map[string]sandboxHandler{
		"POST /execute":               d.execute,
		"GET /contexts":               d.contexts,
		"POST /contexts":              d.createContext,
		"POST /contexts/{id}/restart": d.restartContext,
		"DELETE /contexts/{id}":       d.removeContext,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		m.HandleFunc(method+" "+access.Prefix+path, d.codeServer(h))
	}
}

const (
	noTemplates = "This server builds no templates from the SDK: the operator makes templates and images."
	noSecrets   = "This server stores no secrets for the SDK: send secrets when you create a session at /v1/sessions."
)

// answerer handles a request of the control plane. A nil body means an answer without content.
type answerer func(w http.ResponseWriter, r *http.Request, caller string) (status int, body any, err error)

// sandboxHandler handles a request to the code server of a sandbox.
type sandboxHandler func(w http.ResponseWriter, r *http.Request, s *session.Session)

// unsupported returns a handler that refuses every request with a message.
func unsupported(message string) answerer {
	return func(http.ResponseWriter, *http.Request, string) (int, any, error) {
		return 0, nil, cellhold.Errorf(cellhold.Unsupported, "%s", message)
	}
}

// unknown refuses a request for a path that no other route has.
func unknown(_ http.ResponseWriter, r *http.Request, _ string) (int, any, error) {
	return 0, nil, cellhold.Errorf(cellhold.NotFound, "This server does not have %.10s %.100q of the E2B API.", r.Method, strings.TrimPrefix(r.URL.Path, access.Prefix))
}

// control returns the handler of a route of the control plane. It finds the caller by the API key.
func (d *door) control(h answerer) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, known := d.caller(r)
		if !known {
			if r.ContentLength != 0 {
				w.Header().Set("Connection", "close") // do not read the body
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="cellhold"`)
			access.WriteRefused(w, http.StatusUnauthorized, "The API key is missing or wrong: set E2B_API_KEY to a token of the server's token file.")
			return
		}
		exchange.SetCaller(r.Context(), caller)
		status, body, err := h(w, r, caller)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		if body == nil {
			w.WriteHeader(status)
			return
		}
		exchange.WriteJSON(w, status, "application/json", body)
	}
}

// keyPrefix begins the API keys of E2B. Some versions of the SDKs require it.
const keyPrefix = "e2b_"

// caller returns the caller of a request to the control plane. SDKs send the key in one header, tools of E2B in another.
func (d *door) caller(r *http.Request) (name string, known bool) {
	if d.Caller == nil {
		return "", true
	}
	keys := r.Header.Values("X-Api-Key")
	if len(keys) == 0 {
		if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "bearer") {
			keys = []string{token}
		}
	}
	if len(keys) != 1 {
		return "", false
	}
	if name, known = d.Caller(keys[0]); known {
		return name, true
	}
	return d.Caller(strings.TrimPrefix(keys[0], keyPrefix))
}

// codeServer returns the handler of a route of the code server.
func (d *door) codeServer(h sandboxHandler) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if s := d.Access.Admit(w, r, d.Access.Traffic, http.StatusForbidden); s != nil {
			h(w, r, s)
		}
	}
}

// session returns a running or paused session of the caller. An ended session is not found.
func (d *door) session(r *http.Request, caller string) (*session.Session, error) {
	id := r.PathValue("id")
	s, err := d.Sessions.Session(r.Context(), caller, cellhold.SessionID(id))
	if err != nil || s.Record().State == cellhold.SessionEnded {
		return nil, cellhold.Errorf(cellhold.NotFound, "Sandbox %.40q not found.", id)
	}
	return s, nil
}

// isSet reports whether a part of a body has a value that is not empty.
func isSet(part json.RawMessage) bool {
	switch string(part) {
	case "", "null", "{}", "[]", `""`, "false":
		return false
	}
	return true
}

// acting returns a context for an action that must not stop halfway when the caller leaves.
func acting(r *http.Request) (context.Context, context.CancelFunc) { return exchange.Act(r.Context()) }
