// Package guard decides which requests the server accepts. It checks the Host header, the web origin and the
// token.
//
// It does not know the content of requests, and does not decide who owns a session.
package guard

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/server/exchange"
)

// Guard refuses requests that are not allowed. Its fields must not change after Wrap.
type Guard struct {
	Tokens  *Tokens         // the known callers; nil means that callers need no token
	Hosts   []string        // allowed names in the Host header in lower case, in addition to localhost and addresses
	Origins []string        // web origins whose pages can call the server, in addition to its own
	Public  map[string]bool // paths that can be read without a token

	// Own reports whether the route of a request checks the caller itself. If Own is nil, no route does.
	Own func(*http.Request) bool

	// Linked reports whether the URL of a request contains a secret, such as a signature. The guard accepts such a
	// request from a link on any web site. A page that knows the secret could also use it without a visitor. If Linked
	// is nil, no URL contains a secret.
	Linked func(*http.Request) bool

	// Long reports whether the body of a request can exceed exchange.MaxBody. The route of such a request must
	// limit the body itself. If Long is nil, no body can exceed the limit.
	Long func(*http.Request) bool
}

func (g *Guard) isPublic(r *http.Request) bool {
	return g.Public[r.URL.Path] && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// Wrap returns a handler that passes only allowed requests to next. It checks host, origin, token and size in that
// order, before it reads any byte of the body.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := g.refusal(w, r); p != nil {
			if r.ContentLength != 0 {
				w.Header().Set("Connection", "close") // do not read the rest of the body
			}
			exchange.WriteProblem(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wellKnown is the prefix of the paths where clients of MCP look for an authorization server. These requests have no
// token. After the status 401 in place of 404, the clients would look again.
const wellKnown = "/.well-known/"

// toolsWellKnown is the same prefix below /mcp, the path of the tools for AI agents. Some clients look there too.
const toolsWellKnown = "/mcp/.well-known/"

func (g *Guard) refusal(w http.ResponseWriter, r *http.Request) *exchange.Problem {
	ctx := r.Context()
	if !g.hostAllowed(r) {
		return exchange.NewProblem(ctx, http.StatusForbidden, cellhold.Denied,
			fmt.Sprintf("Host %.100q is not allowed. Start the server with --host to add a name.", hostname(r.Host)))
	}
	if !g.originAllowed(r) {
		return exchange.NewProblem(ctx, http.StatusForbidden, cellhold.Denied, "Requests from other web sites are refused. Start the server with --origin to allow a site.")
	}
	if strings.HasPrefix(r.URL.Path, wellKnown) || strings.HasPrefix(r.URL.Path, toolsWellKnown) {
		return exchange.NewProblem(ctx, http.StatusNotFound, cellhold.NotFound, "This server has no authorization server. Send a token from the server's token file.")
	}
	if !g.isPublic(r) && (g.Own == nil || !g.Own(r)) {
		caller, fault := g.authenticate(r)
		if fault != "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="cellhold"`)
			return exchange.NewProblem(ctx, http.StatusUnauthorized, cellhold.Denied, fault)
		}
		exchange.SetCaller(ctx, caller)
	}
	if r.ContentLength > exchange.MaxBody && (g.Long == nil || !g.Long(r)) {
		return exchange.NewProblem(ctx, http.StatusRequestEntityTooLarge, cellhold.Invalid, exchange.TooLarge)
	}
	return nil
}

// The messages of authentication errors. If the token is missing, the message says how to send a token. If the token is
// wrong, the message has no details.
const (
	noToken    = "The request has no token. Send the header \"Authorization: Bearer TOKEN\"; on the command line use --token or CELLHOLD_TOKEN."
	twoTokens  = "The request has more than one Authorization header. Send one."
	notAToken  = "The Authorization header has no bearer token. Send \"Authorization: Bearer TOKEN\"."
	wrongToken = "The token is wrong: this server does not know it. Compare it with the server's token file."
	wholeLine  = "The token has a space. A line of the server's token file is a name and a token: send only the token."
)

// authenticate returns the name of the caller's token, or an error message. It reads the token only from the header. A
// token in a URL would get into logs, browser histories and Referer headers.
func (g *Guard) authenticate(r *http.Request) (caller, fault string) {
	if g.Tokens == nil { // authentication is off
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
	if strings.Contains(token, " ") { // the caller sent a whole line of the file
		return "", wholeLine
	}
	caller, known := g.Tokens.caller(token)
	if !known {
		return "", wrongToken
	}
	return caller, ""
}

// hostAllowed defends against DNS rebinding. In this attack, the host name of a web page resolves to this machine. So
// the browser treats this server as the page's own origin. But the Host header of the page's requests still has the
// name of the page. hostAllowed always accepts localhost, 127.0.0.1, ::1 and the names in Hosts. If the connection came
// to another loopback address, hostAllowed also accepts this address. If the connection came to an address that is not
// loopback, hostAllowed accepts all IP addresses. Rebinding needs a name.
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

// hostname returns a Host header in lower case, without the port and the brackets. If the header is malformed, the
// result equals no allowed name.
func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(host)
}

// originAllowed refuses requests from pages of other web sites. Browsers send Origin or Sec-Fetch-Site;
// programs send neither. "same-site" is refused too: another port of localhost is the same site, and any
// program can serve a page there.
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
	if g.Linked != nil && g.Linked(r) {
		return true
	}
	// A visitor can follow a link from another site to a public page. The other site cannot read the page.
	return g.isPublic(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// sameOrigin compares the whole host of an origin, with its port, with the Host header. An attacker can imitate a part
// of a host. If the server uses TLS, it refuses origins with http. The caller must have checked the Host header.
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
