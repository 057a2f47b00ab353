package ports

import (
	"net/http"
	"slices"
	"strings"
)

// private are headers that no program gets: those of this server's tokens, of its proxies, and of one hop. They are in
// canonical form.
var private = map[string]bool{
	"Expect": true, "Te": true, "Forwarded": true, "Via": true, "Proxy": true,
	"X-Access-Token": true, "X-Real-Ip": true, "X-Client-Ip": true, "X-Cluster-Client-Ip": true, "True-Client-Ip": true,
	"Fastly-Client-Ip": true, "Fly-Client-Ip": true, "Remote-User": true, "X-Remote-User": true, "X-Webauth-User": true, "X-Ssl-Client-Cert": true,
}

// privatePrefixes begin the names of more such headers. Proxies in front of the server put the identity of a person or of
// the caller there, and untrusted code could use it elsewhere.
var privatePrefixes = []string{
	"E2b-", "X-Forwarded-", "Proxy-", "Cf-", "X-Amzn-Oidc-", "X-Amz-Cf-", "X-Goog-Iap-", "X-Goog-Authenticated-", "X-Auth-Request-",
	"X-Ms-Client-Principal", "X-Ms-Token-", "X-Pomerium-", "X-Authentik-", "X-Client-Cert", "Ssl-Client-", "X-Vercel-", "Tailscale-User-",
}

// isPrivate reports whether no program gets a header.
func isPrivate(name string) bool {
	canonical := http.CanonicalHeaderKey(name)
	return private[canonical] || strings.Contains(name, "_") || // some proxies take X_Real_IP for X-Real-IP
		slices.ContainsFunc(privatePrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) })
}

// acting are headers with which an answer acts on more than the page of its host: on the server's proxies, on the hosts of
// others, or on later connections.
var acting = map[string]bool{
	"Alt-Svc": true, "Clear-Site-Data": true, "Nel": true, "Report-To": true, "Strict-Transport-Security": true, "Public-Key-Pins": true,
	"Public-Key-Pins-Report-Only": true, "Expect-Ct": true, "Proxy-Authenticate": true, "Proxy-Authentication-Info": true, "Via": true,
	"X-Reproxy-Url": true, "X-Reproxy-File": true, "Surrogate-Control": true, "Surrogate-Key": true, "Cdn-Cache-Control": true, "Cloudflare-Cdn-Cache-Control": true,
}

// actingPrefixes begin the names of more such headers. Some proxies send a local file in place of an answer with one of them.
var actingPrefixes = []string{"X-Accel-", "X-Sendfile", "X-Lighttpd-", "X-Litespeed-", "Surrogate-"}

// isActing reports whether no client gets a header of an answer.
func isActing(name string) bool {
	canonical := http.CanonicalHeaderKey(name)
	return acting[canonical] || slices.ContainsFunc(actingPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) })
}

// plain are the headers of an answer that a client gets below a path of the API. An unknown header could act on the origin of
// the API, so it is left out. Location is handled apart.
var plain = map[string]bool{
	"Accept-Ranges": true, "Allow": true, "Content-Disposition": true, "Content-Encoding": true, "Content-Language": true, "Content-Length": true,
	"Content-Range": true, "Content-Type": true, "Etag": true, "Last-Modified": true, "Retry-After": true, "Mcp-Session-Id": true,
	"Mcp-Protocol-Version": true, "Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true, "X-Total-Count": true,
}

// withoutDomain returns a cookie without the attribute Domain. With it, a program could set cookies of all hosts of the
// server's name.
func withoutDomain(cookie string) string {
	parts := strings.Split(cookie, ";")
	kept := parts[:1]
	for _, attribute := range parts[1:] {
		name, _, _ := strings.Cut(attribute, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "domain") {
			kept = append(kept, attribute)
		}
	}
	return strings.Join(kept, ";")
}
