package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/auth"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxBegin is the maximum size of a request that begins an MCP session. The SDK keeps its parameters as long as the
	// MCP session.
	maxBegin = 64 << 10
	// maxBatch is the maximum number of messages in a batch, which only old versions of the protocol have.
	maxBatch = 20
	// maxBatchBody is the maximum size of a batch in bytes.
	maxBatchBody = 1 << 20
)

// Handler returns a handler for the streamable HTTP transport. identify returns the caller of a request, which must
// be authenticated. The MCP session of a caller does not accept requests of another one.
func (s *Server) Handler(identify func(*http.Request) (Caller, error)) http.Handler {
	server := func(*http.Request) *sdk.Server { return s.sdk }
	// In the new versions of the protocol, a request that ends cancels its call. In the others, a cancellation
	// arrives in another request, so the handler must keep MCP sessions.
	// The SDK's check of the Host header knows no public host of a proxy on the same machine. The caller of the handler
	// must check Host and Origin.
	modern := sdk.NewStreamableHTTPHandler(server, &sdk.StreamableHTTPOptions{DisableLocalhostProtection: true,
		Stateless: true, PropagateRequestCancellation: true, MaxRequestBodyBytes: s.options.MaxBody})
	legacy := sdk.NewStreamableHTTPHandler(server, &sdk.StreamableHTTPOptions{DisableLocalhostProtection: true,
		SessionTimeout: idleTime, MaxRequestBodyBytes: s.options.MaxBody})
	choose := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begins := r.Header.Get("Mcp-Session-Id") == "" && r.Header.Get("Mcp-Protocol-Version") < stateless
		if status, text := bound(w, r, begins); status != 0 {
			http.Error(w, text, status)
			return
		}
		switch {
		case r.Header.Get("Mcp-Protocol-Version") >= stateless:
			modern.ServeHTTP(w, r)
		default:
			if r.Method == http.MethodDelete { // the SDK waits for the calls of the MCP session
				caller := r.Context().Value(callerKey{}).(Caller)
				s.connections.end(caller.Name, r.Header.Get("Mcp-Session-Id"))
			}
			legacy.ServeHTTP(w, r)
		}
	})
	// The SDK takes the caller of a request from a TokenInfo, which only this middleware can set.
	verify := func(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
		caller := ctx.Value(callerKey{}).(Caller)
		return &auth.TokenInfo{UserID: caller.Name, Extra: map[string]any{callerExtra: caller}}, nil
	}
	checked := auth.RequireBearerToken(verify, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(choose)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := identify(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r = r.Clone(context.WithValue(r.Context(), callerKey{}, caller))
		r.Header.Set("Authorization", "Bearer checked") // the tools must not see the token
		checked.ServeHTTP(w, r)
	})
}

// bound limits the body of a request before the SDK parses it. It returns the status and the text of a refusal, or 0.
func bound(w http.ResponseWriter, r *http.Request, begins bool) (status int, text string) {
	if r.Body == nil {
		return 0, ""
	}
	if begins {
		r.Body = http.MaxBytesReader(w, r.Body, maxBegin)
	}
	buffered := bufio.NewReader(r.Body)
	body := struct {
		io.Reader
		io.Closer
	}{buffered, r.Body}
	r.Body = body
	for {
		first, err := buffered.ReadByte()
		if err != nil {
			r.Body = rest(nil, err, body) // the SDK reports the error
			return 0, ""
		}
		switch first {
		case ' ', '\t', '\r', '\n':
			continue
		}
		if err := buffered.UnreadByte(); err != nil {
			return http.StatusBadRequest, err.Error()
		}
		if first != '[' {
			return 0, ""
		}
		break
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, body, maxBatchBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("The batch is too large. Send messages one by one, or at most %d MiB.", maxBatchBody>>20)
	}
	r.Body = rest(raw, err, body)
	if longBatch(raw) {
		return http.StatusBadRequest, fmt.Sprintf("The batch has too many messages. Send at most %d.", maxBatch)
	}
	return 0, ""
}

// rest returns a body of bytes that were read already, and of the error after them.
func rest(raw []byte, err error, closer io.Closer) io.ReadCloser {
	after := io.Reader(bytes.NewReader(nil))
	if err != nil {
		after = failing{err}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(raw), after), closer}
}

// failing is a reader that has only an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// longBatch reports whether an array has more than maxBatch values. It stops there, so it needs little memory.
func longBatch(raw []byte) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return false
	}
	for n := 1; d.More(); n++ {
		var message json.RawMessage
		if n > maxBatch {
			return true
		}
		if d.Decode(&message) != nil {
			return false // the SDK reports the error
		}
	}
	return false
}
