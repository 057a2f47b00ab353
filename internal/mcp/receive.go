package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"cellhold"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxCalls is the maximum number of calls of a caller that run at the same time.
	maxCalls = 32
	// maxError is the maximum number of characters of an error of the SDK, which can quote arguments.
	maxError = 500
)

// The methods that need more than the SDK does.
const (
	methodInitialize  = "initialize"
	methodInitialized = "notifications/initialized"
	methodCallTool    = "tools/call"
	methodRead        = "resources/read"
	methodSetLevel    = "logging/setLevel"
)

// callLimit counts the running calls of each caller. The zero value is ready for use.
type callLimit struct {
	mu      sync.Mutex
	running map[string]int
}

// enter notes a call, and returns an error if the caller has too many. The caller must call leave.
func (l *callLimit) enter(caller string) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running[caller] >= maxCalls {
		return nil, cellhold.Errorf(cellhold.Exhausted, "You have %d calls running. Wait for one, or call interrupt.", maxCalls)
	}
	if l.running == nil {
		l.running = map[string]int{}
	}
	l.running[caller]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.running[caller]--; l.running[caller] == 0 {
			delete(l.running, caller)
		}
	}, nil
}

// receive handles all messages of all callers. A panic, an error or too many calls of one caller must not disturb others.
func (s *Server) receive(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (result sdk.Result, err error) {
		defer func() {
			if recovered(s.options.Logger, method, recover()) {
				result, err = nil, errors.New("this call met an error of the server, which its log describes")
			}
			result, err = bounded(method, result, err)
		}()
		caller, err := callerOf(ctx, req.GetExtra())
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		closes := func() { cancel(errClosing) }
		defer s.closing.enter(closes)()
		switch method {
		case methodInitialize:
			leave, err := s.connect(caller, req.GetSession())
			if err != nil {
				return nil, err
			}
			defer leave()
			return next(ctx, method, req)
		case methodInitialized: // the SDK keeps the parameters
			if r, ok := req.(*sdk.InitializedRequest); ok && r.Params != nil {
				r.Params.Meta = nil
			}
		case methodSetLevel: // the SDK keeps the level, which nothing uses
			return nil, errors.New("this server sends no log messages")
		case methodCallTool, methodRead:
			leave, err := s.calls.enter(caller.Name)
			if err != nil {
				return nil, err
			}
			defer leave()
		}
		if id := req.GetSession().ID(); id != "" {
			found, leave := s.connections.enter(id)
			if found == nil {
				return nil, errors.New("the MCP session has ended, or has not begun: send initialize")
			}
			defer leave()
			defer found.closing.enter(closes)()
		}
		return next(ctx, method, req)
	}
}

// connect adds an MCP session over HTTP. It ends the caller's oldest unused one if there are too many.
func (s *Server) connect(caller Caller, session sdk.Session) (leave func(), err error) {
	begun, ok := session.(*sdk.ServerSession)
	if !ok || session.ID() == "" {
		return func() {}, nil
	}
	old, leave, err := s.connections.add(caller.Name, begun, func() map[string]bool {
		live := map[string]bool{}
		for other := range s.sdk.Sessions() {
			live[other.ID()] = true
		}
		return live
	})
	if err != nil {
		return nil, err
	}
	if old != nil {
		old.closing.end()
		_ = old.session.Close() // its caller can have ended it at the same time
	}
	return leave, nil
}

// bounded makes an error of a tool a result, which the model can read, and shortens the errors of the SDK.
func bounded(method string, result sdk.Result, err error) (sdk.Result, error) {
	if called, ok := result.(*sdk.CallToolResult); ok && err == nil && called != nil && called.IsError && called.GetError() != nil {
		called.Content = []sdk.Content{&sdk.TextContent{Text: shorten(plain(called.GetError().Error()), maxError, "")}}
	}
	if err == nil {
		return result, nil
	}
	text := shorten(plain(err.Error()), maxError, "")
	if wire, ok := errors.AsType[*jsonrpc.Error](err); ok {
		wire.Message = shorten(plain(wire.Message), maxError, "")
		return nil, wire
	}
	if method == methodCallTool {
		return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil
	}
	return nil, err
}

// recovered logs a panic. It reports whether there was one. Without it, one bad value from a sandbox could end the server.
func recovered(log *slog.Logger, what string, value any) bool {
	if value == nil {
		return false
	}
	if log != nil {
		log.Error("a tool panicked", "in", what, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
	}
	return true
}
