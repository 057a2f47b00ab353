// Package server serves the HTTP API /v1. A handler decodes a request, checks the caller, calls a session and
// encodes the answer. The package also mounts the article's API at the root, the tools for AI agents at /mcp, and
// the pages that describe both APIs. It mounts the APIs of E2B and Jupyter too.
//
// The package has about 3,200 lines because the API is one route table: all operations share one document,
// one error shape and the same helpers. The article's API, the guards and the documentation pages are
// packages of their own.
//
// The package decides nothing about sessions, kernels or files; package session does. Its only changing state is
// the list of requests that wait now, and whether the server shuts down.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cellhold/internal/mcp"
	"cellhold/internal/oneshot"
	"cellhold/internal/registry"
	"cellhold/internal/server/connections"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/envd"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/guard"
	"cellhold/internal/server/jupyter"
	"cellhold/internal/server/ports"
)

const (
	// headerTime limits the reading of a header. A slow connection needs a second; an attacker would take hours.
	headerTime = 10 * time.Second
	// idleTime is the time that an unused connection is kept. Clients that poll each minute keep theirs.
	idleTime = 2 * time.Minute
	// maxHeader is the maximum size of a header. It has room for many tokens and cookies.
	maxHeader = 64 << 10
	// defaultGrace is the time that requests have to end at shutdown. Watchers end at once; the other
	// requests need the time to send their answers.
	defaultGrace = 10 * time.Second
)

// Options configures a Server.
type Options struct {
	Sessions *registry.Registry // required
	Tokens   *guard.Tokens      // the known callers; must be set unless AuthOff is set
	AuthOff  bool               // callers need no token; allowed only on loopback addresses, or with Gateways
	Gateways []netip.Addr       // if set, only these addresses and loopback can connect

	Hosts        []string      // allowed names in the Host header, in addition to localhost and addresses
	Origins      []string      // web origins ("https://notes.example") whose pages can call the server, in addition to its own
	TLS          *tls.Config   // nil means plain HTTP
	InsecureHTTP bool          // allow plain HTTP beyond loopback, for a server behind a proxy that speaks TLS
	Grace        time.Duration // how long shutdown waits for answers; 0 means 10 seconds

	// MaxConnections is the number of connections at the same time. 0 means half of the descriptors that the process can
	// open.
	MaxConnections int

	JupyterPathToken bool // Jupyter's clients can send a token in the path
	JupyterOlderForm bool // Jupyter's clients get the older form of messages only

	Version string       // version of the program; empty means "unknown"
	Logger  *slog.Logger // nil means that nothing is logged
}

// Server answers HTTP requests.
type Server struct {
	sessions *registry.Registry
	guard    guard.Guard
	options  Options
	log      *slog.Logger

	handler  http.Handler
	routes   []route
	waiters  exchange.Waiters
	tools    *mcp.Server
	envd     *envd.Server
	jupyter  *jupyter.Server
	runs     *oneshot.Runs
	ports    *ports.Proxy
	draining atomic.Bool
	started  time.Time
}

// New returns a server. The caller must call Serve to listen.
func New(o Options) (*Server, error) {
	switch {
	case o.Sessions == nil:
		return nil, errors.New("server: Options.Sessions is nil: set it")
	case o.Tokens == nil && !o.AuthOff:
		return nil, errors.New("server: Options.Tokens is nil: set it, or set AuthOff")
	case o.Tokens != nil && o.AuthOff:
		return nil, errors.New("server: Options.Tokens and AuthOff are both set: set only one")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = connections.MostNow()
	}
	s := &Server{sessions: o.Sessions, options: o, log: o.Logger, started: time.Now()}
	s.runs = oneshot.New(oneshot.Options{Create: o.Sessions.CreateOnce, Home: o.Sessions.Home(), MaxSessions: o.Sessions.MaxSessions(), MaxTimeout: o.Sessions.MaxTimeout(), Logger: o.Logger})
	s.guard = guard.Guard{Tokens: o.Tokens, Origins: o.Origins, Public: public, Linked: access.IsLink, Long: longBody}
	for _, h := range o.Hosts {
		s.guard.Hosts = append(s.guard.Hosts, strings.ToLower(h))
	}
	mux, err := s.mux()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	inside := exchange.Instrument(s.log, s.ports.ByHost(access.ByHost(s.guard.Hosts, s.guard.Wrap(access.ForPages(o.Origins, mux)))))
	byPath := jupyter.ByPath(o.JupyterPathToken, inside) // first, so that nothing else sees the token
	s.handler = ports.Either(s.guard.Hosts, inside, byPath)
	if len(o.Gateways) > 0 {
		s.handler = guard.OnlyFrom(o.Gateways, s.handler)
	}
	return s, nil
}

// Handler returns the handler of all requests, including the guards.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests from the listener until ctx ends. Then it shuts down: it reports not ready and closes the
// listener. It ends streams, and requests that wait for a result; the last event of a stream says where to
// continue. It waits for all other requests, up to Options.Grace, and returns nil. If the listener fails before ctx
// ends, Serve shuts down too and returns the error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if err := s.checkListener(ln); err != nil {
		ln.Close()
		return err
	}
	ln = connections.Limit(ln, s.options.MaxConnections, s.busyAnswer(), s.tooMany())
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         s.options.TLS,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // port scanners cause most of these errors
	}
	hs.RegisterOnShutdown(s.waiters.SendAway) // runs after the listener is closed
	served := make(chan error, 1)
	go func() {
		if hs.TLSConfig != nil {
			served <- hs.ServeTLS(ln, "", "")
		} else {
			served <- hs.Serve(ln)
		}
	}()
	select {
	case err := <-served:
		s.shutdown(ctx, hs)
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
		s.shutdown(ctx, hs)
		<-served
		return nil
	}
}

// busyAnswer is the answer to a connection above the limit. A client that expects TLS cannot read it.
func (s *Server) busyAnswer() string {
	if s.options.TLS != nil {
		return ""
	}
	const body = `{"title":"Service Unavailable","status":503,"kind":"unavailable","detail":"The server has too many connections. Try again later, and use one connection for several requests."}` + "\n"
	return fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// tooMany returns a function that logs refused connections, at most once a minute.
func (s *Server) tooMany() func(open int) {
	var refused int
	var last time.Time
	return func(open int) {
		refused++
		if time.Since(last) < time.Minute {
			return
		}
		last = time.Now()
		s.log.Warn("connections are refused: the limit is half of the descriptors that the server can open (ulimit -n)", "open", open, "limit", s.options.MaxConnections, "refused", refused)
	}
}

// checkListener applies guard.CheckExposure to the actual listen address, which can differ from the command
// line.
func (s *Server) checkListener(ln net.Listener) error {
	if ln.Addr().Network() == "unix" {
		return nil // the mode of the socket file limits access
	}
	return guard.CheckExposure(guard.Exposure{
		Addr: ln.Addr().String(), Auth: s.options.Tokens != nil,
		TLS: s.options.TLS != nil, InsecureHTTP: s.options.InsecureHTTP, Gateway: len(s.options.Gateways) > 0,
	})
}

func (s *Server) shutdown(ctx context.Context, hs *http.Server) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Grace)
	defer cancel()
	closed := make(chan struct{})
	go func() { // ends with the calls of tools, which have deadlines
		defer close(closed)
		var all sync.WaitGroup // none waits for the calls of another
		all.Go(s.tools.Close)
		all.Go(s.envd.Close)
		all.Go(s.jupyter.Close)
		all.Go(s.runs.Close)
		all.Wait()
	}()
	if err := hs.Shutdown(ctx); err != nil {
		s.log.Warn("closing requests that did not end in time", "error", err)
		hs.Close()
	}
	select {
	case <-closed:
	case <-ctx.Done():
	}
}
