package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cellhold/internal/registry"
	"cellhold/internal/server/guard"
)

func TestAServerNeedsSessionsAndEitherTokensOrAuthOff(t *testing.T) {
	m := new(registry.Registry)
	for name, o := range map[string]Options{
		"nothing":            {},
		"no tokens":          {Sessions: m},
		"tokens and AuthOff": {Sessions: m, Tokens: &guard.Tokens{}, AuthOff: true},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
	}
}

func TestAServerWithoutAuthenticationRefusesAnExposedListener(t *testing.T) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newServer(t, new(registry.Registry), func(o *Options) { o.Tokens, o.AuthOff = nil, true })
	if err := s.Serve(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "authentication") {
		t.Errorf("Serve: got %v, want an error with the word authentication", err)
	}
}

func TestAtShutdownStreamsGetByeAndTheServerAcceptsNoConnections(t *testing.T) {
	h := newHarness(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + ln.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(ctx, ln) }()

	path := h.create()
	_, lines := h.stream(path+"/events", "")
	until(t, lines, "kernel_state")
	stop()
	until(t, lines, "bye") // streams get their last event
	if err := <-served; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
	if !h.server.draining.Load() {
		t.Error("draining is false after Serve, want true")
	}
	if _, err := http.Get(h.url + "/v1/health"); err == nil {
		t.Error("a request after the shutdown: got no error, want one")
	}
}

func TestAServerWithTLSAnswersHTTP2(t *testing.T) {
	other := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer other.Close()
	s, _ := newServer(t, new(registry.Registry), func(o *Options) {
		o.TLS = &tls.Config{Certificates: other.TLS.Certificates}
	})
	ln, err := net.Listen("tcp", "0.0.0.0:0") // TLS and tokens allow other addresses than loopback
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := other.Client()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	res, err := client.Get("https://127.0.0.1:" + port + "/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Errorf("got %s with status %s, want HTTP/2.0 with 200", res.Proto, res.Status)
	}
	client.CloseIdleConnections()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestInvalidHTTPIsRefusedWith400Or403(t *testing.T) {
	h := newHarness(t)
	for name, text := range map[string]string{
		"conflicting lengths":  "POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
		"two hosts":            "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
		"no host":              "GET / HTTP/1.1\r\n\r\n",
		"length and chunks":    "POST /nowhere HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"old and without host": "GET / HTTP/1.0\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 400 && res.StatusCode != 403 {
			t.Errorf("%s: got status %d, want 400 or 403", name, res.StatusCode)
		}
		conn.Close()
	}
}
