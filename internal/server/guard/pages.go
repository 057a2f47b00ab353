package guard

import (
	"net/http"
	"slices"
	"strings"
)

// api is the prefix of the paths whose answers pages of Guard.Origins can read. Other routes with such pages add the
// headers themselves.
const api = "/v1/"

// answersPage lets pages of the configured origins read answers below api: it adds the headers with which browsers show
// them. A page has no cookie and no other secret of this server, so each request still needs a token.
//
// It reports whether the request was a preflight, the question of a browser before a request, and is answered. A
// preflight never has a token.
func (g *Guard) answersPage(w http.ResponseWriter, r *http.Request) bool {
	if len(g.Origins) == 0 || !strings.HasPrefix(r.URL.Path, api) || !g.hostAllowed(r) {
		return false
	}
	h, origins := w.Header(), r.Header.Values("Origin")
	h.Add("Vary", "Origin")
	if len(origins) != 1 || !slices.Contains(g.Origins, origins[0]) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Expose-Headers", "*") // those of programs at ports, too
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, *") // a program at a port can need any header
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
