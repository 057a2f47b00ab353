// Package inside gives a part of the server a client of the server's own routes.
package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"cellhold/client"
	"cellhold/internal/server/exchange"
)

// transport sends requests to the routes in this process, as one caller. Nothing in a request can change the caller: it is
// fixed when transport is made, and the routes are called behind the guard, which would read a token.
type transport struct {
	routes http.Handler // with exchange.Instrument, which begins a new call
}

// Client returns a client whose requests go to the routes as those of a caller.
func Client(log *slog.Logger, routes http.Handler, caller string) (*client.Client, error) {
	asCaller := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchange.SetCaller(r.Context(), caller)
		routes.ServeHTTP(w, r)
	})
	return client.New(client.Options{
		URL: "http://localhost", HTTP: &http.Client{Transport: &transport{exchange.Instrument(log, asCaller)}},
		Patience: 1, // a nanosecond: this server is reachable or shuts down, so no retry helps
	})
}

// RoundTrip returns when the handler begins its answer. The handler ends at the latest when the request's context ends
// or the answer's body is closed.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	body, pipe := io.Pipe()
	w := &writer{header: http.Header{}, begun: make(chan struct{}), pipe: pipe}
	inner := r.Clone(ctx)
	inner.RequestURI, inner.RemoteAddr = r.URL.RequestURI(), "in this process"
	inner.Header.Del("Expect")
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	leave := context.AfterFunc(r.Context(), func() { body.CloseWithError(context.Cause(r.Context())) })
	go func() { // ends with the handler
		defer cancel()
		defer leave()
		defer inner.Body.Close()
		defer func() { w.finish(recover()) }()
		t.routes.ServeHTTP(w, inner)
	}()
	select {
	case <-w.begun:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &responseBody{body, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// responseBody is the body of an answer. Close ends the handler.
type responseBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the handler's context and its writes.
func (b *responseBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// writer is the ResponseWriter of a request in this process.
type writer struct {
	header http.Header
	once   sync.Once
	begun  chan struct{}
	status int         // fixed when begun is closed
	sent   http.Header // fixed when begun is closed
	pipe   *io.PipeWriter
}

// Header returns the header to send.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader begins the answer.
func (w *writer) WriteHeader(status int) {
	if status < http.StatusOK {
		return
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

// Write writes to the reader of the body, and waits for it.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush begins the answer. Writes are never buffered.
func (w *writer) Flush() { w.WriteHeader(http.StatusOK) }

// finish ends the body. After a panic, the body ends with an error, as on a broken connection.
func (w *writer) finish(panicked any) {
	if panicked != nil {
		w.WriteHeader(http.StatusInternalServerError)
		w.pipe.CloseWithError(errors.New("the server ended the answer early"))
		return
	}
	w.WriteHeader(http.StatusOK)
	w.pipe.Close()
}
