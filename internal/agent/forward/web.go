package forward

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxHeaders bounds a request's headers. Cookies and tokens take up to 16 KiB.
	maxHeaders = 64 << 10
	// idleTime is how long a connection of a program or of the host is kept for the next request.
	idleTime = 10 * time.Second
)

// web is the HTTP side of a forwarder.
type web struct {
	f      *Forwarder
	server *http.Server
	proxy  *httputil.ReverseProxy
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
	ctx    context.Context // of serve; set before the first request
}

func newWeb(f *Forwarder) *web {
	w := &web{f: f, conns: make(chan net.Conn), done: make(chan struct{})}
	quiet := log.New(io.Discard, "", 0) // otherwise programs can fill the agent's log
	w.proxy = &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { keepHeaders(p) },
		FlushInterval: -1, // the answer may be a stream of events
		ErrorHandler:  func(rw http.ResponseWriter, _ *http.Request, err error) { refuse(rw, asRefusal(err)) },
		ErrorLog:      quiet,
		Transport: &http.Transport{
			DialContext:         w.dial,
			DisableCompression:  true, // the answer is passed on unchanged
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     idleTime,
		},
	}
	w.server = &http.Server{
		Handler: w, ErrorLog: quiet,
		ReadHeaderTimeout: requestTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaders,
	}
	return w
}

// serve serves until the context ends.
func (w *web) serve(ctx context.Context) {
	w.ctx = ctx
	stop := context.AfterFunc(ctx, func() { w.server.Close(); w.Close() })
	defer stop()
	_ = w.server.Serve(w)
	w.proxy.Transport.(*http.Transport).CloseIdleConnections()
}

// take gives a program's connection to the HTTP server of web.
func (w *web) take(ctx context.Context, c net.Conn) {
	select {
	case w.conns <- c:
	case <-ctx.Done():
		c.Close()
	}
}

// Accept returns the next connection from take. Accept, Close and Addr make web the listener of its server.
func (w *web) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (w *web) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

// Addr returns a dummy address.
func (w *web) Addr() net.Addr { return &net.TCPAddr{} }

// ServeHTTP serves one request of a program.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if !w.mayPass(r) {
		rw.Header().Set("Proxy-Authenticate", `Basic realm="cellhold"`)
		refuse(rw, &refusal{http.StatusProxyAuthRequired, "The proxy password is missing or wrong."})
		return
	}
	switch {
	case r.Method == http.MethodConnect:
		w.tunnel(rw, r)
	case r.URL.Scheme == "http" && r.URL.Host != "":
		w.proxy.ServeHTTP(rw, r)
	default:
		refuse(rw, &refusal{http.StatusBadRequest, "This is the proxy of the sandbox. It accepts CONNECT, and requests with an absolute http URL."})
	}
}

// mayPass checks the password, if there is one.
func (w *web) mayPass(r *http.Request) bool {
	if w.f.token == "" {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
	if !ok {
		return false
	}
	plain, err := base64.StdEncoding.DecodeString(given)
	_, password, found := strings.Cut(string(plain), ":")
	return err == nil && found && w.f.isToken(password)
}

func (f *Forwarder) isToken(s string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(f.token)) == 1
}

// keepHeaders restores the headers that ReverseProxy removes: the proxy must not change the program's
// headers.
func keepHeaders(p *httputil.ProxyRequest) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := p.In.Header[name]; ok {
			p.Out.Header[name] = v
		}
	}
}

// dial is the dial function of the transport: it asks the host for a connection.
func (w *web) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	return w.f.dial(ctx, host, port)
}

// tunnel serves CONNECT.
func (w *web) tunnel(rw http.ResponseWriter, r *http.Request) {
	host, port, err := splitAddr(r.Host)
	if err != nil {
		refuse(rw, asRefusal(err))
		return
	}
	out, err := w.f.dial(r.Context(), host, port)
	if err != nil {
		refuseTunnel(rw, asRefusal(err))
		return
	}
	c, ahead, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		out.Close()
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		out.Close()
		c.Close()
		return
	}
	join(w.ctx, &buffered{Conn: c, r: ahead.Reader}, out)
}

// refuse answers a request that failed.
func refuse(rw http.ResponseWriter, e *refusal) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("X-Cellhold-Egress", e.message)
	rw.WriteHeader(e.status)
	fmt.Fprintln(rw, e.message)
}

// refuseTunnel answers a failed CONNECT. Clients do not show the body of the answer. So the reason is also
// in the status line, which Python clients show.
func refuseTunnel(rw http.ResponseWriter, e *refusal) {
	c, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, e.message)
	_ = c.SetWriteDeadline(time.Now().Add(requestTime))
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nX-Cellhold-Egress: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		e.status, text, text, len(text)+1, text)
}

// splitAddr splits an address into host and port. The host decides whether the host name is valid.
func splitAddr(addr string) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, &refusal{http.StatusBadRequest, "The address must have the form host:port."}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || host == "" {
		return "", 0, &refusal{http.StatusBadRequest, "The address must have the form host:port."}
	}
	return host, int(port), nil
}
