package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"cellhold"
)

// public are the pages that need no token: they tell nothing about sessions, and monitors and
// people look at them before they have one. Everything else needs a token, a path that leads
// nowhere included, so that a new route cannot be open by oversight.
var public = map[string]bool{
	"/":               true,
	"/docs":           true,
	"/docs/style.css": true,
	"/docs/script.js": true,
	"/docs/icon.svg":  true,
	"/openapi.json":   true,
	"/openapi.yaml":   true,
	"/v1/health":      true,
	"/v1/ready":       true,
	"/v1/version":     true,
}

func isPublic(r *http.Request) bool {
	return public[r.URL.Path] && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// guard lets pass what may: Host first, then origin, then token, then size, and all of that
// before one byte of the body is read.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := s.refusal(w, r); p != nil {
			if r.ContentLength != 0 {
				w.Header().Set("Connection", "close") // reading the body to its end is work for nothing
			}
			writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) refusal(w http.ResponseWriter, r *http.Request) *Problem {
	ctx := r.Context()
	if !s.hostAllowed(r) {
		return newProblem(ctx, http.StatusForbidden, cellhold.Denied,
			"This server is not known by the name in the Host header; its operator can add names.")
	}
	if !s.originAllowed(r) {
		return newProblem(ctx, http.StatusForbidden, cellhold.Denied, "Requests from other web sites are refused.")
	}
	if !isPublic(r) {
		caller, ok := s.authenticate(r)
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="cellhold"`)
			return newProblem(ctx, http.StatusUnauthorized, cellhold.Denied,
				"A token is needed: send the header \"Authorization: Bearer TOKEN\".")
		}
		callOf(ctx).caller = caller
	}
	if r.ContentLength > maxBody {
		return newProblem(ctx, http.StatusRequestEntityTooLarge, cellhold.Invalid, tooLarge)
	}
	return nil
}

// authenticate returns the name of the caller's token. A token is taken from the header only:
// in a URL it would end up in logs, histories and Referer headers.
func (s *Server) authenticate(r *http.Request) (string, bool) {
	if s.tokens == nil { // New made sure that this was asked for
		return "", true
	}
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token") {
		return "", false
	}
	return s.tokens.caller(strings.TrimSpace(token))
}

// hostAllowed defends against DNS rebinding: a web page whose name suddenly resolves to this
// machine reaches the server as "same origin", but its requests still bear its own name. On a
// loopback address only the names of loopback are accepted; elsewhere also any plain IP address,
// because rebinding needs a name.
func (s *Server) hostAllowed(r *http.Request) bool {
	host := hostname(r.Host)
	if host == "localhost" || slices.Contains(s.hosts, host) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return false
	}
	if ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && (!at.Addr().Unmap().IsLoopback() || at.Addr().Unmap() == ip)
}

// hostname cuts port and brackets off a Host header. What is malformed comes back as something
// that no allowed name equals.
func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(host)
}

// originAllowed refuses what another web site's page sent. Browsers say so in Origin or in
// Sec-Fetch-Site; programs send neither. "same-site" is refused as well: another port of
// localhost is the same site, and any program may serve a page there.
func (s *Server) originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) > 1 {
		return false
	}
	if len(origins) == 1 {
		return slices.Contains(s.origins, origins[0]) || sameOrigin(origins[0], r)
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	// Following a link from elsewhere to a public page shows that page and does nothing else.
	return isPublic(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// sameOrigin compares whole origins, because a part of one is easy to imitate. The Host header
// has been checked before.
func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	if u.Scheme != "https" && (u.Scheme != "http" || r.TLS != nil) {
		return false
	}
	return u.Host != "" && strings.EqualFold(u.Host, r.Host)
}
