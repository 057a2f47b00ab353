package ports

import (
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"cellhold"
	"cellhold/internal/session"
)

// Policy is the Content-Security-Policy of answers below a path. A page of a program is then no page of the API's origin,
// and runs no script.
const Policy = "sandbox; default-src 'none'"

// PathOf returns the path of a port in the API, with a slash at the end.
func PathOf(id cellhold.SessionID, port string) string {
	return "/v1/sessions/" + string(id) + "/ports/" + port + "/"
}

// Path passes a request below a path of the API on to a port of a session. The caller must have checked that the session is
// the caller's. The path of the request must have been cleaned. fail answers the request with an error; the error is
// NotFound if no program listens on the port.
func (p *Proxy) Path(w http.ResponseWriter, r *http.Request, s *session.Session, port int, fail func(error)) {
	w.Header().Set("Content-Security-Policy", Policy)
	prefix := PathOf(s.ID(), strconv.Itoa(port))
	rest, ok := cutSegments(r.URL.EscapedPath(), strings.Count(prefix, "/")-1)
	inner, err := url.PathUnescape(rest)
	if !ok || err != nil {
		fail(cellhold.Errorf(cellhold.Invalid, "Invalid path."))
		return
	}
	p.pass(w, r, target{session: s, port: port, fail: fail, rules: pathRules{prefix: prefix, port: port, path: inner, raw: rest}})
}

// cutSegments removes the first n segments of an escaped path. The rest begins with a slash.
func cutSegments(escaped string, n int) (rest string, ok bool) {
	for range n {
		i := strings.IndexByte(escaped[min(1, len(escaped)):], '/')
		if i < 0 {
			return "", false
		}
		escaped = escaped[i+1:]
	}
	return escaped, strings.HasPrefix(escaped, "/")
}

// pathRules are the rules below a path. The origin of the API is that of the answers.
type pathRules struct {
	prefix    string // path of the port, with a slash at the end
	port      int
	path, raw string // of the request to the program
}

func (t pathRules) request(out *http.Request) {
	out.URL.Path, out.URL.RawPath = t.path, t.raw
	out.Host = out.URL.Host
	// The token of the caller, and what belongs to the origin of the API. The cookies of a host are the same for all of its ports.
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Origin", "Referer"} {
		out.Header.Del(name)
	}
}

func (t pathRules) answer(h http.Header) http.Header {
	shown := http.Header{}
	for name, values := range h {
		if plain[name] {
			shown[name] = values
		}
	}
	if shown["Content-Type"] == nil {
		shown.Set("Content-Type", "application/octet-stream") // otherwise net/http guesses it
	}
	if to := h.Get("Location"); to != "" {
		if inside, ok := t.location(to); ok {
			shown.Set("Location", inside)
		}
	}
	return shown
}

func (t pathRules) begin(http.Header) {}

// location returns the place below the prefix to which an answer redirects. It returns false for every other place:
// clients follow a redirect to the origin of the API with the token of the caller. So a program could choose requests to
// the API that the caller would make.
func (t pathRules) location(to string) (string, bool) {
	host := "localhost:" + strconv.Itoa(t.port)
	base := &url.URL{Scheme: "http", Host: host, Path: t.path, RawPath: t.raw}
	u, err := base.Parse(to)
	if err != nil || strings.ContainsAny(to, "\\") || u.Opaque != "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	if u.Port() != strconv.Itoa(t.port) || u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" {
		return "", false
	}
	escaped := u.EscapedPath()
	// Clients and proxies differ in how they read such paths, and could leave the prefix.
	if lower := strings.ToLower(escaped); strings.Contains(lower, "%2e") || strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") {
		return "", false
	}
	clean := path.Clean("/" + escaped)
	if strings.HasSuffix(escaped, "/") && clean != "/" {
		clean += "/"
	}
	inside := strings.TrimSuffix(t.prefix, "/") + clean
	if u.RawQuery != "" {
		inside += "?" + u.RawQuery
	}
	return inside, true
}
