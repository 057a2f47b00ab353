// Package ports passes HTTP requests and WebSockets on to the programs that listen on ports in sandboxes.
//
// A caller names a port in a path of the API, or in a host of its own. The package checks who can use a host. The caller of
// Path must have checked the owner of the session. The package trusts no program: it bounds the headers, the time and the
// form of each answer, and removes what would act on the server, on its proxies, or on the pages of others.
//
// It has no locks.
package ports

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

const (
	// maxHeader is the maximum size of the header of a program's answer, with all provisional answers before it.
	maxHeader = 64 << 10
	// clientWrite is the time in which a client of an upgraded connection must read a piece of data.
	clientWrite = 30 * time.Second
	// maxPort is the largest number of a port.
	maxPort = 65535
)

// idleTime is the time after which a connection on which no bytes move is closed. It also limits the wait for the header
// of an answer. Programs that compute longer must send something. Tests shorten it.
var idleTime = 10 * time.Minute

// Options configures a Proxy. All fields are required, except for Caller and Names.
type Options struct {
	// Dial connects to a port of a session. It resumes the session. The error is NotFound if no program listens.
	Dial    func(ctx context.Context, s *session.Session, port int) (net.Conn, error)
	Waiters *exchange.Waiters
	// Caller returns the name of a token. Requests to hosts can have such a token by mistake. If it is nil, callers have no
	// tokens.
	Caller func(text string) (name string, known bool)
	Names  []string // names of the server, in lower case; PORT-ID.NAME is a host
	Access *access.Access
	Public func(*session.Session) bool // reports whether everybody can use the ports of a session
}

// Proxy passes requests on.
type Proxy struct{ o Options }

// New returns a Proxy.
func New(o Options) *Proxy { return &Proxy{o} }

// target is a port of a session, and how the request reaches it.
type target struct {
	session *session.Session
	port    int
	rules   rules
	fail    func(error) // answers the request
}

// rules say what passes between a client and a program. They differ for paths and hosts.
type rules interface {
	// request changes the request to the program.
	request(out *http.Request)
	// answer returns the header for the client. It does not change the given one.
	answer(h http.Header) http.Header
	// begin is called before the header of an answer of the program is written.
	begin(own http.Header)
}

// ErrNoAnswer says that a program did not answer with HTTP. Its text is for the caller, and has no bytes of the program.
var ErrNoAnswer = cellhold.Errorf(cellhold.Unavailable, "The program on the port sent no valid HTTP answer.")

// pass passes a request on. It answers in every case.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, t target) {
	ctx, leave := p.o.Waiters.Enter(r.Context())
	defer leave()
	raw, err := p.o.Dial(ctx, t.session, t.port)
	if err != nil {
		t.fail(err)
		return
	}
	conn := newIdleConn(raw, idleTime)
	defer conn.Close()
	proxy := &httputil.ReverseProxy{
		Transport:     tame{transport(conn), t.rules},
		FlushInterval: -1, // programs stream
		Rewrite:       func(pr *httputil.ProxyRequest) { rewrite(pr.Out, t) },
		ModifyResponse: func(*http.Response) error {
			t.rules.begin(w.Header())
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { t.fail(ErrNoAnswer) },
		// Its messages can have bytes of the program.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	inner := r.WithContext(ctx)
	if inner.ContentLength != 0 {
		body := &requestBody{Closer: r.Body, r: exchange.LongBody(r)}
		defer body.end(w)
		// Otherwise an answer would wait until the client has sent all. HTTP/2 always allows it.
		_ = http.NewResponseController(w).EnableFullDuplex()
		inner.Body = body
	}
	proxy.ServeHTTP(&upgrader{w}, inner)
}

// transport returns a transport that uses one connection for one request.
func transport(conn net.Conn) *http.Transport {
	conns := make(chan net.Conn, 1)
	conns <- conn
	return &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-conns:
				return c, nil
			default:
				return nil, errors.New("the connection was used")
			}
		},
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small answer could expand to a large one
		MaxResponseHeaderBytes: maxHeader,
		ResponseHeaderTimeout:  idleTime,
	}
}

// requestBody is a body without the usual limits. The transport reads it in a goroutine of its own.
type requestBody struct {
	io.Closer
	mu   sync.Mutex // held during a read
	r    io.Reader
	over bool
}

// Read reads from the body.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.r.Read(p)
}

// end waits for a read in progress, and forbids later ones. A read after the end of the handler would change the deadlines
// of the next request on the connection.
func (b *requestBody) end(w http.ResponseWriter) {
	if !b.mu.TryLock() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) // the program answered before the client has sent all
		b.mu.Lock()
	}
	b.over = true
	b.mu.Unlock()
}

// rewrite makes the request to the program. httputil has removed the headers of one hop.
func rewrite(out *http.Request, t target) {
	out.URL.Scheme, out.URL.Host = "http", "localhost:"+strconv.Itoa(t.port)
	out.URL.User, out.URL.Fragment, out.URL.Opaque = nil, "", ""
	out.Trailer = nil
	for name := range out.Header {
		if isPrivate(name) {
			out.Header.Del(name)
		}
	}
	// A program could speak another protocol after an upgrade than the server believes, so only WebSockets are passed.
	if !isWebSocket(out) {
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	t.rules.request(out)
}

// isWebSocket reports whether a request asks for a WebSocket.
func isWebSocket(r *http.Request) bool {
	upgrade := r.Header.Values("Upgrade")
	return r.Method == http.MethodGet && len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") && r.ContentLength == 0
}

// tame is a transport for answers of untrusted programs.
type tame struct {
	transport *http.Transport
	rules     rules
}

// RoundTrip sends a request. It returns an answer that can be shown to the client.
func (t tame) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.transport.RoundTrip(r.WithContext(untraced{r.Context()}))
	if err != nil {
		return nil, err
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		if answer := res.Header.Values("Upgrade"); !isWebSocket(r) || len(answer) != 1 || !strings.EqualFold(answer[0], "websocket") {
			res.Body.Close()
			return nil, errors.New("an upgrade that the client did not ask for")
		}
	case res.StatusCode < http.StatusOK || res.StatusCode > 599: // net/http panics for some of them
		res.Body.Close()
		return nil, errors.New("an invalid status")
	}
	shown := *res // the transport adds trailers to res only, after it has read the body
	shown.Trailer = nil
	shown.Header = t.rules.answer(res.Header)
	if res.StatusCode == http.StatusSwitchingProtocols {
		shown.Header.Set("Connection", "Upgrade")
		shown.Header.Set("Upgrade", "websocket")
	}
	return &shown, nil
}
