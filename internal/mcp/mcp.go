// Package mcp gives AI agents sessions, cells, commands, files and packages as tools of the Model Context Protocol.
//
// It reaches a server only through package client. A call names its session, or uses the caller's default session,
// so the tools work the same over any connection. The package never binds a session to a connection, and never
// interrupts another cell than the one of a cancelled call.
package mcp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"cellhold/client"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// waitTime is the time after which a call returns while its cell continues. Many programs give up a call
	// after 60 s.
	waitTime = 50 * time.Second
	// reportTime is the time between two progress notifications.
	reportTime = 2 * time.Second
	// idleTime is the time after which an unused MCP session ends. Sessions of cellhold stay.
	idleTime = time.Hour
	// graceTime is the time that calls have to end when the server closes.
	graceTime = 3 * time.Second
	// stateless is the first version of the protocol that has no MCP sessions.
	stateless = "2026-07-28"
)

// Options configures a Server.
type Options struct {
	Version string               // version of the program
	Create  client.CreateSession // settings of new sessions
	Network bool                 // sessions can have network access
	Logger  *slog.Logger         // gets the panics of tools; nil means that nothing is logged
	MaxBody int64                // maximum size of an HTTP request in bytes; 0 means the SDK's default
	Wait    time.Duration        // how long a call waits for its cell; 0 means 50 s
	Grace   time.Duration        // time that calls have to end at Close; 0 means 3 s
	Report  time.Duration        // time between two progress notifications; 0 means 2 s
}

// Caller is a user of the tools.
type Caller struct {
	Name    string         // unique; "" if there is only one caller
	Client  *client.Client // sends the caller's requests
	Session string         // label of the default session; "" means "default"
}

// Server serves the tools to any number of callers. The methods can be called from any goroutine.
type Server struct {
	options  Options
	sdk      *sdk.Server
	defaults defaults

	waits       waits
	calls       callLimit
	connections connections
	closing     waits // has the calls that outlast the grace time
}

// New returns a server. The caller must close it.
func New(o Options) *Server {
	o.Wait = cmp.Or(o.Wait, waitTime)
	o.Report = cmp.Or(o.Report, reportTime)
	o.Grace = cmp.Or(o.Grace, graceTime)
	s := &Server{options: o}
	s.sdk = sdk.NewServer(&sdk.Implementation{Name: "cellhold", Title: "cellhold", Version: o.Version}, &sdk.ServerOptions{
		Instructions: instructions,
		Capabilities: &sdk.ServerCapabilities{}, // the SDK's default announces logging, which is deprecated
		// The SDK's default is public: a cache could give a caller's file to another caller.
		SetCacheable: func(_ context.Context, _ sdk.Request, c *sdk.Cacheable) { c.CacheScope = "private" },
	})
	s.sdk.AddReceivingMiddleware(s.receive)
	s.addTools()
	s.addResources()
	return s
}

// Close ends the waits of all calls, after the grace time the calls, and closes all MCP sessions. It returns when the calls
// have ended, and their answers can be lost. Cells and sessions of cellhold continue. It can be called twice.
func (s *Server) Close() {
	s.waits.end()
	defer time.AfterFunc(s.options.Grace, s.closing.end).Stop()
	var closes sync.WaitGroup
	for session := range s.sdk.Sessions() {
		closes.Go(func() { session.Close() })
	}
	closes.Wait()
}

// acting returns a context for a step that continues when its call is cancelled. It ends when the server closes.
func (s *Server) acting(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	leave := s.closing.enter(cancel)
	return ctx, func() { leave(); cancel() }
}

// waits has the calls that wait for a cell. The zero value is ready for use.
type waits struct {
	mu    sync.Mutex
	next  int
	open  map[int]context.CancelFunc
	ended bool
}

// enter adds a wait, which the function cancel ends. The caller must call leave.
func (w *waits) enter(cancel context.CancelFunc) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		cancel()
		return func() {}
	}
	if w.open == nil {
		w.open = map[int]context.CancelFunc{}
	}
	id := w.next
	w.next++
	w.open[id] = cancel
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, id)
	}
}

// end ends all present and later waits.
func (w *waits) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, cancel := range w.open {
		cancel()
	}
}

// callerKey is the key of the caller in a context, and in the TokenInfo of a request.
type callerKey struct{}

const callerExtra = "cellhold.caller"

// Run serves one caller over a pair of streams, such as stdin and stdout, until in ends or ctx ends.
func (s *Server) Run(ctx context.Context, caller Caller, in io.ReadCloser, out io.WriteCloser) error {
	return s.run(ctx, caller, &sdk.IOTransport{Reader: in, Writer: out})
}

// run is Run over any transport.
func (s *Server) run(ctx context.Context, caller Caller, t sdk.Transport) error {
	err := s.sdk.Run(context.WithValue(ctx, callerKey{}, caller), t)
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}

// callerOf returns the caller of a request: the one of an HTTP request, otherwise the one of the connection.
func callerOf(ctx context.Context, extra *sdk.RequestExtra) (Caller, error) {
	if extra != nil && extra.TokenInfo != nil {
		if caller, ok := extra.TokenInfo.Extra[callerExtra].(Caller); ok {
			return caller, nil
		}
	}
	if caller, ok := ctx.Value(callerKey{}).(Caller); ok && (extra == nil || extra.Header == nil) {
		return caller, nil
	}
	return Caller{}, errors.New("the request has no caller")
}

// CheckName returns an error if a label of a default session is invalid.
func CheckName(name string) error {
	const most = 64
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if len(name) > most || strings.ContainsFunc(name, odd) {
		return errors.New("invalid session name: use at most 64 letters, digits, dots, dashes and underscores")
	}
	return nil
}
