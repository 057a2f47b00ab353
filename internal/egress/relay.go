package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"
)

const (
	// maxRequestHeaders bounds the headers of a request of the guest, and maxResponseHeaders those of a response.
	maxRequestHeaders  = 64 << 10
	maxResponseHeaders = 256 << 10
	// headerTime bounds the time for the headers of a request.
	headerTime = 30 * time.Second
	// handshakeTime bounds each of the two TLS handshakes.
	handshakeTime = 20 * time.Second
)

// terminateTLS terminates the guest's TLS with a certificate of the session's own authority, and opens another TLS
// connection to the host. Between the two connections it can insert secrets.
func (a *attempt) terminateTLS(ctx context.Context, h Host, guest net.Conn, out net.Conn) {
	cert, err := a.gate.o.Vault.leaf(h)
	if err != nil {
		a.gate.o.Logger.Error("cannot create a certificate", "host", h, "err", err)
		return
	}
	inner := tls.Server(guest, &tls.Config{
		Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	})
	handshake, cancel := context.WithTimeout(ctx, handshakeTime)
	err = inner.HandshakeContext(handshake)
	cancel()
	if err != nil {
		a.setReason("The program did not accept the session's certificate for this host. Set SSL_CERT_FILE or REQUESTS_CA_BUNDLE for the program.")
		return
	}
	a.relay(ctx, h, inner, out, true)
}

// relay forwards HTTP request by request, and checks that each of them is for the requested host. If secure is set, it uses
// TLS to the host and inserts secrets into headers.
func (a *attempt) relay(ctx context.Context, h Host, guest, out net.Conn, secure bool) {
	ctx, cancel := context.WithTimeout(ctx, a.gate.o.Limits.Age)
	defer cancel()
	c := &counted{Conn: guest, a: a, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	r := &relay{a: a, host: h, port: a.record.Port, secure: secure, first: out}
	transport := r.transport()
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Rewrite: r.rewrite, Transport: transport, FlushInterval: -1,
		ModifyResponse: r.confirmUpgrade, ErrorHandler: r.failed, ErrorLog: silent,
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.serve(proxy, w, q) }),
		// The guest's proxy keeps idle connections for a shorter time.
		ReadHeaderTimeout: headerTime, IdleTimeout: headerTime, MaxHeaderBytes: maxRequestHeaders, ErrorLog: silent,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	_ = server.Serve(&single{conn: c})
	_ = server.Close()
	r.end()
}

var silent = log.New(io.Discard, "", 0) // guests and remote servers could otherwise fill our log

// relay handles the requests of one connection.
type relay struct {
	a      *attempt
	host   Host
	port   int
	secure bool

	serving sync.Mutex // held while a request is served; requests come one at a time
	ended   bool

	mu    sync.Mutex
	first net.Conn // the connection of the attempt; nil after its use
}

// serve serves one request.
func (r *relay) serve(proxy http.Handler, w http.ResponseWriter, q *http.Request) {
	r.serving.Lock()
	defer r.serving.Unlock()
	if r.ended {
		return
	}
	if !r.isFor(q) {
		r.a.setRefused("A request was for " + printable(q.Host) + ", but the program requested a connection to " + r.host.String() + ".")
		w.Header().Set("Connection", "close")
		http.Error(w, r.a.refused, http.StatusMisdirectedRequest)
		return
	}
	if q.Method == http.MethodTrace { // the answer to TRACE would repeat the request with the inserted secrets
		http.Error(w, "The method TRACE is not allowed.", http.StatusMethodNotAllowed)
		return
	}
	limitUpgrade(q)
	proxy.ServeHTTP(w, q)
}

// isFor reports whether a request is for the host and port of the connection.
func (r *relay) isFor(q *http.Request) bool {
	if q.Method == http.MethodConnect {
		return false
	}
	name, port, err := net.SplitHostPort(q.Host)
	if err != nil { // no port
		name, port = q.Host, "80"
		if r.secure {
			port = "443"
		}
	}
	h, err := ParseHost(name)
	return err == nil && h == r.host && port == strconv.Itoa(r.port)
}

// end waits for the request in progress and refuses later ones.
func (r *relay) end() {
	r.serving.Lock()
	defer r.serving.Unlock()
	r.ended = true
}

// rewrite directs a request to the host, and inserts secrets.
func (r *relay) rewrite(p *httputil.ProxyRequest) {
	p.Out.URL.Scheme = "http"
	if r.secure {
		p.Out.URL.Scheme = "https"
	}
	p.Out.URL.Host = net.JoinHostPort(r.host.String(), strconv.Itoa(r.port))
	p.Out.Host = p.In.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := p.In.Header[name]; ok { // ReverseProxy removed it, but the program has set it
			p.Out.Header[name] = v
		}
	}
	if !r.secure {
		return // secrets are never sent without TLS
	}
	for _, values := range p.Out.Header {
		for i := range values {
			values[i] = r.a.gate.o.Vault.reveal(r.host, values[i])
		}
	}
}

// transport makes connections to this host only. The dialer checks each of them, as it checked the first.
func (r *relay) transport() *http.Transport {
	return &http.Transport{
		DialContext:            r.dial,
		TLSClientConfig:        &tls.Config{RootCAs: r.a.gate.o.Rules.Roots, ServerName: r.host.String(), MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTime,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
		DisableCompression:     true,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        headerTime,
		MaxResponseHeaderBytes: maxResponseHeaders,
	}
}

func (r *relay) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	r.mu.Lock()
	c := r.first
	r.first = nil
	r.mu.Unlock()
	if c != nil {
		return c, nil
	}
	return r.a.gate.dialer.dial(ctx, r.host, r.port)
}

// failed answers a request for which the host sent no response.
func (r *relay) failed(w http.ResponseWriter, _ *http.Request, err error) {
	why := "The host closed the connection."
	var cert *tls.CertificateVerificationError
	var no denied
	switch {
	case errors.As(err, &cert):
		why = "This server does not trust the certificate of the host."
	case errors.As(err, &no):
		why = string(no)
	}
	r.a.setReason(why)
	http.Error(w, why, http.StatusBadGateway)
}

// single is a listener with one connection. It ends with that connection.
type single struct {
	conn net.Conn
	once sync.Once
}

func (s *single) Accept() (net.Conn, error) {
	var c net.Conn
	s.once.Do(func() { c = s.conn })
	if c != nil {
		return c, nil
	}
	<-s.conn.(*counted).done
	return nil, net.ErrClosed
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }
