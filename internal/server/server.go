// Package server is the door for HTTP: it decodes a request, authorises it, calls the session and
// encodes the answer. It serves the project's own API under /v1, the article's API at the root and
// the pages that explain both.
//
// It refuses to decide anything about sessions, kernels or files: what may run, for how long and
// where is said in package session. It keeps no state but the list of requests that wait now.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"cellhold/internal/registry"
	"cellhold/internal/server/door"
	"cellhold/internal/server/guard"
)

const (
	// headerTime bounds the reading of a header: a slow line needs a second, an attacker hours.
	headerTime = 10 * time.Second
	// idleTime is how long an unused connection is kept: clients that poll each minute keep theirs.
	idleTime = 2 * time.Minute
	// maxHeader is the most bytes of a header: tokens and cookies fit many times.
	maxHeader = 64 << 10
	// defaultGrace is how long requests may take to end at shutdown: watchers leave at once, what
	// remains are requests that are being answered.
	defaultGrace = 10 * time.Second
)

// Options configures a Server.
type Options struct {
	Sessions *registry.Registry // required
	Tokens   *guard.Tokens      // the known callers; nil is refused unless AuthOff is set
	AuthOff  bool               // nobody needs a token; refused on anything but loopback

	Hosts        []string      // names by which the server may be called, beside localhost and addresses; empty means none
	Origins      []string      // web origins ("https://notes.example") whose pages may call it; empty means only its own
	TLS          *tls.Config   // nil means plain HTTP
	InsecureHTTP bool          // allow plain HTTP beyond loopback: a proxy in front of it speaks TLS
	Grace        time.Duration // how long shutdown waits for answers; 0 means 10 seconds

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
	waiters  door.Waiters
	draining atomic.Bool
	started  time.Time
}

// New returns a server that listens nowhere yet.
func New(o Options) (*Server, error) {
	switch {
	case o.Sessions == nil:
		return nil, errors.New("server: Sessions is missing")
	case o.Tokens == nil && !o.AuthOff:
		return nil, errors.New("server: no tokens, and authentication is not switched off by name")
	case o.Tokens != nil && o.AuthOff:
		return nil, errors.New("server: tokens are given and authentication is switched off")
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
	s := &Server{sessions: o.Sessions, options: o, log: o.Logger, started: time.Now()}
	s.guard = guard.Guard{Tokens: o.Tokens, Origins: o.Origins, Public: public, Long: longBody}
	for _, h := range o.Hosts {
		s.guard.Hosts = append(s.guard.Hosts, strings.ToLower(h))
	}
	mux, err := s.mux()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.handler = door.Instrument(s.log, s.guard.Wrap(mux))
	return s, nil
}

// Handler returns the whole door, guards included.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests from the listener until ctx ends, then shuts down in order: it reports
// not ready, stops accepting, sends watchers away with their cursor, and waits for the rest, but
// not for ever. It closes the listener, and returns nil after a shutdown.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if err := s.checkListener(ln); err != nil {
		ln.Close()
		return err
	}
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         s.options.TLS,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // noise of scanners
	}
	hs.RegisterOnShutdown(s.waiters.SendAway) // runs when the listener is closed
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

// checkListener applies the rule of guard.CheckExposure to what is really listened on, whatever the
// command line said.
func (s *Server) checkListener(ln net.Listener) error {
	if ln.Addr().Network() == "unix" {
		return nil // the file's mode guards it
	}
	return guard.CheckExposure(guard.Exposure{
		Addr: ln.Addr().String(), Auth: s.options.Tokens != nil,
		TLS: s.options.TLS != nil, InsecureHTTP: s.options.InsecureHTTP,
	})
}

func (s *Server) shutdown(ctx context.Context, hs *http.Server) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Grace)
	defer cancel()
	if err := hs.Shutdown(ctx); err != nil {
		s.log.Warn("some requests did not end in time", "error", err)
		hs.Close()
	}
}
