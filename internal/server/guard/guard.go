// Package guard decides who may call: by the name that the server is called by, the web site that a
// request comes from, and the token that it bears.
//
// It refuses to know what is asked for. What belongs to whom is said where it is kept.
package guard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/server/door"
)

// Guard lets pass what may. Its fields do not change once it is in use.
type Guard struct {
	Tokens  *Tokens         // the known callers; nil means that nobody needs a token
	Hosts   []string        // names by which the server may be called, beside localhost and addresses, in lower case
	Origins []string        // web origins whose pages may call, beside the server's own
	Public  map[string]bool // paths that can be read without a token

	// Long reports whether a request's body may be longer than others; its route bounds it. nil means none.
	Long func(*http.Request) bool
}

func (g *Guard) isPublic(r *http.Request) bool {
	return g.Public[r.URL.Path] && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// Wrap lets pass what may: Host first, then origin, then token, then size, and all of that
// before one byte of the body is read.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := g.refusal(w, r); p != nil {
			if r.ContentLength != 0 {
				w.Header().Set("Connection", "close") // reading the body to its end is work for nothing
			}
			door.WriteProblem(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Guard) refusal(w http.ResponseWriter, r *http.Request) *door.Problem {
	ctx := r.Context()
	if !g.hostAllowed(r) {
		return door.NewProblem(ctx, http.StatusForbidden, cellhold.Denied,
			"This server is not known by the name in the Host header; its operator can add names.")
	}
	if !g.originAllowed(r) {
		return door.NewProblem(ctx, http.StatusForbidden, cellhold.Denied, "Requests from other web sites are refused.")
	}
	if !g.isPublic(r) {
		caller, fault := g.authenticate(r)
		if fault != "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="cellhold"`)
			return door.NewProblem(ctx, http.StatusUnauthorized, cellhold.Denied, fault)
		}
		door.SetCaller(ctx, caller)
	}
	if r.ContentLength > door.MaxBody && (g.Long == nil || !g.Long(r)) {
		return door.NewProblem(ctx, http.StatusRequestEntityTooLarge, cellhold.Invalid, door.TooLarge)
	}
	return nil
}

// What is wrong with a request that bears no token that we know. Who sent a wrong one learns
// nothing but that; who sent none learns how.
const (
	noToken    = "A token is needed: send the header \"Authorization: Bearer TOKEN\", or give the command line --token or CELLHOLD_TOKEN."
	twoTokens  = "There is more than one Authorization header: send one."
	notAToken  = "The Authorization header bears no token: send \"Authorization: Bearer TOKEN\"."
	wrongToken = "The token is wrong: this server does not know it. Compare it with the server's token file."
	wholeLine  = "A token has no space in it. A line of the server's token file is a name and a token: send the token only."
)

// authenticate returns the name of the caller's token, or what is wrong. A token is taken from the
// header only: in a URL it would end up in logs, histories and Referer headers.
func (g *Guard) authenticate(r *http.Request) (caller, fault string) {
	if g.Tokens == nil { // whoever made the guard was asked for this
		return "", ""
	}
	values := r.Header.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", noToken
	case len(values) > 1:
		return "", twoTokens
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); token == "" || !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token") {
		return "", notAToken
	}
	if strings.Contains(token, " ") { // a line of the file, pasted
		return "", wholeLine
	}
	caller, known := g.Tokens.caller(token)
	if !known {
		return "", wrongToken
	}
	return caller, ""
}

// hostAllowed defends against DNS rebinding: a web page whose name suddenly resolves to this
// machine reaches the server as "same origin", but its requests still bear its own name. On a
// loopback address only the names of loopback are accepted; elsewhere also any plain IP address,
// because rebinding needs a name.
func (g *Guard) hostAllowed(r *http.Request) bool {
	host := hostname(r.Host)
	if host == "localhost" || slices.Contains(g.Hosts, host) {
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
func (g *Guard) originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) > 1 {
		return false
	}
	if len(origins) == 1 {
		return slices.Contains(g.Origins, origins[0]) || sameOrigin(origins[0], r)
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	// Following a link from elsewhere to a public page shows that page and does nothing else.
	return g.isPublic(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
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
