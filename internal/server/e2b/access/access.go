// Package access finds the sandbox that a request of an E2B client is for, and checks the tokens of the sandbox.
//
// A sandbox is a session. Its tokens are not stored: each is an HMAC of the session's id with a key of the owner. So they
// survive a restart, and each fork has tokens of its own. All of them end when the operator removes the owner's token.
// The package does not know what a request does.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// TrafficHeader is the header with the token of the code server, or of the ports, of a sandbox.
const TrafficHeader = "E2b-Traffic-Access-Token"

// The headers of requests to a sandbox.
const (
	sandboxHeader = "E2b-Sandbox-Id"
	portHeader    = "E2b-Sandbox-Port"
	trafficHeader = TrafficHeader
	accessHeader  = "X-Access-Token"
)

// A request to a sandbox names a port. One port stands for the code server, the other for files and processes.
const (
	CodePort = "49999"
	EnvdPort = "49983"
)

// The purposes of tokens.
const (
	traffic = "traffic"
	envd    = "envd"
	ports   = "ports"
)

// Prefix is the prefix of the paths of the E2B API.
const Prefix = "/e2b"

// Mux registers routes, such as "GET /path".
type Mux interface {
	HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request))
}

// Options configures an Access. All fields are required, except for Open.
type Options struct {
	Find func(context.Context, cellhold.SessionID) (*session.Session, bool) // returns a session of any owner
	// All returns the sessions of all owners. It waits for sessions that are not ready, but not if the context has ended.
	All func(context.Context) []*session.Session
	// Key returns the key of an owner's tokens. It returns false if the owner has no token any more.
	Key func(owner string) (key []byte, ok bool)
	// Open is set if callers need no tokens. Sessions of callers with a token then cannot be used, as in the other APIs.
	Open bool
}

// Access finds sandboxes and checks tokens.
type Access struct{ o Options }

// New returns an Access.
func New(o Options) *Access { return &Access{o} }

// Tokens are the tokens of a sandbox.
type Tokens struct {
	Traffic string // for the code server, and for ports
	Envd    string // for files and processes
	Ports   string // for ports only
}

// Tokens returns the tokens of a session. They are empty if its owner has no token any more.
func (a *Access) Tokens(s *session.Session) Tokens {
	rec := s.Record()
	return Tokens{Traffic: a.token(rec.Owner, rec.ID, traffic), Envd: a.token(rec.Owner, rec.ID, envd),
		Ports: a.token(rec.Owner, rec.ID, ports)}
}

func (a *Access) token(owner string, id cellhold.SessionID, purpose string) string {
	key, ok := a.o.Key(owner)
	if !ok {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("e2b\x00" + purpose + "\x00" + string(id)))
	return hex.EncodeToString(mac.Sum(nil))
}

// PortOf returns the port of the sandbox that a request names.
func PortOf(r *http.Request) string { return r.Header.Get(portHeader) }

// Target returns the sandbox that a request names, and its id as the client wrote it. It returns nil for a sandbox
// that does not exist, has ended, or is paused and does not resume on use. Target checks no token: a client whose
// token is no longer valid must still see that the sandbox is gone.
func (a *Access) Target(r *http.Request) (s *session.Session, id string) {
	id = r.Header.Get(sandboxHeader)
	return a.Named(r, cellhold.SessionID(id)), id
}

// Named is Target for a sandbox that the request names in another place than a header.
func (a *Access) Named(r *http.Request, id cellhold.SessionID) *session.Session {
	s, found := a.o.Find(r.Context(), id)
	if !found || !usable(s) {
		return nil
	}
	return s
}

// usable reports whether a request can use a session. For clients, a session is paused from its deadline on, also while
// work that began earlier delays its hibernation.
func usable(s *session.Session) bool {
	rec := s.Record()
	switch rec.State {
	case cellhold.SessionReady:
		return !rec.Overdue(time.Now())
	case cellhold.SessionHibernated:
		return rec.Resume != cellhold.ResumeOnRequest || !rec.Paused(time.Now())
	}
	return false
}

// Running reports whether a session runs, or is hibernated only because it was idle.
func Running(s *session.Session) bool {
	rec, now := s.Record(), time.Now()
	return rec.State == cellhold.SessionReady && !rec.Overdue(now) || rec.State == cellhold.SessionHibernated && !rec.Paused(now)
}

// Traffic reports whether a request has the token of the code server of a session, and sets the caller.
func (a *Access) Traffic(r *http.Request, s *session.Session) bool {
	return a.allow(r, s, trafficHeader, traffic)
}

// Port reports whether a request has a token for the ports of a session, and sets the caller. E2B's SDKs have one token for
// ports and for the code server. Callers of /v1 get one that runs no code.
func (a *Access) Port(r *http.Request, s *session.Session) bool {
	return a.allow(r, s, trafficHeader, ports) || a.allow(r, s, trafficHeader, traffic)
}

// Envd reports whether a request has the token for files and processes of a session, and sets the caller.
func (a *Access) Envd(r *http.Request, s *session.Session) bool {
	return a.allow(r, s, accessHeader, envd)
}

func (a *Access) allow(r *http.Request, s *session.Session, header, purpose string) bool {
	rec := s.Record()
	want, got := a.token(rec.Owner, rec.ID, purpose), r.Header.Values(header)
	if open := a.o.Open && rec.Owner == ""; !open && (want == "" || len(got) != 1 || !hmac.Equal([]byte(got[0]), []byte(want))) {
		return false
	}
	exchange.SetCaller(r.Context(), rec.Owner)
	return true
}

// WriteGone answers a request for a sandbox that cannot be used. All such sandboxes get the same answer. The Python
// client recognises the words "was not found".
func WriteGone(w http.ResponseWriter, id string) {
	exchange.WriteJSON(w, http.StatusBadGateway, "application/json", map[string]any{
		"sandboxId": strings.ToValidUTF8(id[:min(len(id), 40)], ""), "message": "The sandbox was not found", "code": http.StatusBadGateway,
	})
}

// WriteRefused answers a request without the right token.
func WriteRefused(w http.ResponseWriter, status int, message string) {
	exchange.WriteJSON(w, status, "application/json", map[string]any{"code": status, "message": message})
}
