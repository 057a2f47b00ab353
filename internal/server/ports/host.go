package ports

import (
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"cellhold"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// ByHost serves the hosts PORT-ID.NAME, and passes all other requests to next. It checks the caller itself. The hosts of E2B's
// own ports are left to package access. It also keeps the paths of requests to programs out of the log.
func (p *Proxy) ByHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, ok := readHost(r.Host, p.o.Names)
		if !ok {
			if shown, found := loggedPath(r.URL.Path); found {
				exchange.SetPath(r.Context(), shown)
			}
			next.ServeHTTP(w, r)
			return
		}
		exchange.SetPath(r.Context(), "port "+strconv.Itoa(host.port)+" of "+string(host.id))
		if s, ok := p.admit(w, r, host); ok {
			fail := func(err error) { failHost(w, r, host, err) }
			p.pass(w, r, target{session: s, port: host.port, fail: fail, rules: hostRules{host: r.Host, token: p.isToken, private: !p.o.Public(s)}})
		}
	})
}

// isToken reports whether a text is the token of a caller.
func (p *Proxy) isToken(text string) bool {
	if p.o.Caller == nil {
		return false
	}
	_, known := p.o.Caller(text)
	return known
}

// Either passes requests for the hosts of ports to one handler, and all others to another.
func Either(names []string, port, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := readHost(r.Host, names); ok {
			port.ServeHTTP(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// portHost is the host of a port.
type portHost struct {
	port int
	id   cellhold.SessionID
}

// readHost reads a Host header. It returns false for a host that is not one of a port.
func readHost(hostport string, names []string) (h portHost, ok bool) {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	label, name, _ := strings.Cut(strings.ToLower(host), ".")
	digits, id, found := strings.Cut(label, "-")
	port, valid := ReadPort(digits)
	if !found || !valid || !slices.Contains(names, name) || digits == access.CodePort || digits == access.EnvdPort {
		return portHost{}, false
	}
	return portHost{port, cellhold.SessionID(id)}, true
}

// ReadPort reads a port in its one form: digits without leading zeros.
func ReadPort(digits string) (port int, ok bool) {
	port, err := strconv.Atoi(digits)
	return port, err == nil && port >= 1 && port <= maxPort && strconv.Itoa(port) == digits
}

// loggedPath returns the path that the log has for a request below the path of a port.
func loggedPath(p string) (shown string, found bool) {
	parts := strings.SplitN(path.Clean("/"+p), "/", 7) // "", v1, sessions, ID, ports, PORT, rest
	if len(parts) < 7 || parts[1] != "v1" || parts[2] != "sessions" || parts[4] != "ports" {
		return "", false
	}
	return strings.Join(parts[:6], "/") + "/…", true
}

// admit returns the session of a host, if the request can use it. Otherwise it answers.
func (p *Proxy) admit(w http.ResponseWriter, r *http.Request, h portHost) (*session.Session, bool) {
	refuse := func(status int, message string) (*session.Session, bool) {
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close") // do not read the body
		}
		access.WriteRefused(w, status, message)
		return nil, false
	}
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace || !strings.HasPrefix(r.URL.Path, "/") {
		return refuse(http.StatusMethodNotAllowed, "This method or path cannot be passed on to a program.")
	}
	s := p.o.Access.Named(r, h.id)
	if s == nil { // before the token: a client whose token is no longer valid must still see that the sandbox is gone
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close")
		}
		access.WriteGone(w, string(h.id))
		return nil, false
	}
	if p.o.Public(s) {
		return s, true
	}
	if !p.o.Access.Port(r, s) {
		return refuse(http.StatusForbidden, "The ports of this sandbox are private: send its token in the header E2b-Traffic-Access-Token.")
	}
	// On a server without tokens, pages of other sites could use the ports otherwise.
	if !fromOwnPage(r) {
		return refuse(http.StatusForbidden, "Requests from other web sites are refused, because the ports of this sandbox are private.")
	}
	return s, true
}

// fromOwnPage reports whether a request comes from a program, or from a page of its own host.
func fromOwnPage(r *http.Request) bool {
	switch origins := r.Header.Values("Origin"); len(origins) {
	case 0:
		site := r.Header.Get("Sec-Fetch-Site")
		return site == "" || site == "none" || site == "same-origin"
	case 1:
		u, err := url.Parse(origins[0])
		return err == nil && (u.Scheme == "https" || u.Scheme == "http" && r.TLS == nil) && u.Host != "" && strings.EqualFold(u.Host, r.Host) &&
			u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == ""
	}
	return false
}

// failHost answers a request that could not be passed on, in the form of E2B.
func failHost(w http.ResponseWriter, r *http.Request, h portHost, err error) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	status, message := http.StatusBadGateway, "The sandbox is running but port is not open"
	switch kind := cellhold.KindOf(err); {
	case err == ErrNoAnswer:
		message = err.Error()
	case kind == cellhold.Exhausted:
		status, message = http.StatusTooManyRequests, "The sandbox has too many connections. Retry later."
	case kind == cellhold.Unsupported:
		message = "The ports of this sandbox cannot be reached, because it continues from a snapshot of an earlier version. Use a new sandbox."
	case kind == cellhold.Invalid:
		message = "This port cannot be reached. Use another port."
	case kind == cellhold.Conflict:
		access.WriteGone(w, string(h.id))
		return
	case kind != cellhold.NotFound:
		message = "The sandbox cannot be reached now. Retry later."
	}
	exchange.WriteJSON(w, status, "application/json", map[string]any{"sandboxId": h.id, "message": message, "port": h.port, "code": status})
}

// hostRules are the rules of a host. Its pages have an origin of their own.
type hostRules struct {
	host    string                 // as the client wrote it, with the port
	token   func(text string) bool // can be nil
	private bool                   // the client sent the token of the sandbox
}

func (t hostRules) request(out *http.Request) {
	out.Host = t.host
	for _, name := range []string{"Authorization", "X-Api-Key"} {
		if t.token != nil && slices.ContainsFunc(out.Header.Values(name), t.isToken) {
			out.Header.Del(name) // otherwise it is for the program
		}
	}
}

// isToken reports whether the value of a header has the token of a caller of this server, sent by mistake.
func (t hostRules) isToken(value string) bool {
	for word := range strings.FieldsSeq(value) {
		if t.token(word) || t.token(strings.TrimPrefix(word, "e2b_")) {
			return true
		}
	}
	r := http.Request{Header: http.Header{"Authorization": {value}}}
	name, password, ok := r.BasicAuth()
	return ok && (t.token(name) || t.token(password))
}

func (t hostRules) answer(h http.Header) http.Header {
	shown := http.Header{}
	for name, values := range h {
		switch {
		case isActing(name):
		case name == "Set-Cookie":
			for _, cookie := range values {
				shown.Add(name, withoutDomain(cookie))
			}
		case name == "Location" && t.private && !t.isOwn(values):
			// A program that follows it would send the token of the sandbox to another host.
		default:
			shown[name] = values
		}
	}
	return shown
}

// isOwn reports whether a redirect stays on the host.
func (t hostRules) isOwn(values []string) bool {
	if len(values) != 1 || strings.ContainsAny(values[0], "\\") {
		return false
	}
	base := &url.URL{Scheme: "http", Host: t.host, Path: "/"}
	u, err := base.Parse(values[0])
	return err == nil && u.User == nil && u.Opaque == "" && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, t.host)
}

// begin removes the server's own headers: the page of a program sets its own.
func (t hostRules) begin(own http.Header) { clear(own) }
