package access

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// ByHost passes requests for the hosts of the E2B API on to its paths: for api.NAME and for PORT-ID.NAME, where NAME is
// one of the server's names. SDKs with E2B_DOMAIN use these hosts. The name replaces the host, so the guard checks the
// rest as usual.
func ByHost(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, at := r.Host, ""
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, at = h, ":"+p // the guard compares the port with that of the origin
		}
		label, name, _ := strings.Cut(strings.ToLower(host), ".")
		port, id, isSandbox := strings.Cut(label, "-")
		if !slices.Contains(names, name) || label != "api" && !(isSandbox && (port == CodePort || port == EnvdPort)) {
			next.ServeHTTP(w, r)
			return
		}
		inner, to := *r, *r.URL
		to.Path, to.RawPath = Prefix+r.URL.Path, ""
		inner.URL, inner.Host, inner.Header = &to, name+at, r.Header.Clone()
		if isSandbox {
			inner.Header.Set(sandboxHeader, id)
			inner.Header.Set(portHeader, port)
		}
		next.ServeHTTP(w, &inner)
	})
}
