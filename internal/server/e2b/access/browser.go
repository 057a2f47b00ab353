package access

import (
	"net/http"
	"slices"
	"strings"
)

// isSignedFile reports whether a request has a signed URL of a file. The signature is a secret of its own, so pages that
// have such a URL need no other token.
func isSignedFile(r *http.Request) bool {
	return strings.TrimPrefix(r.URL.Path, Prefix) == "/files" && IsSigned(r)
}

// IsLink reports whether a request can come from a link with a signed URL. The answer is a download, and browsers show no
// part of it to a page of another origin.
func IsLink(r *http.Request) bool { return r.Method == http.MethodGet && isSignedFile(r) }

// IsPreflight reports whether a browser asks if a page can use a signed URL. Such a request has no other token either.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" && isSignedFile(r)
}

// ForPages lets pages of the origins use signed URLs: it adds the headers with which browsers show them the answers. It
// does so for no other request: the other tokens of this API are for programs.
func ForPages(origins []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isSignedFile(r) {
			next.ServeHTTP(w, r)
			return
		}
		h, origin := w.Header(), r.Header.Get("Origin")
		h.Add("Vary", "Origin")
		allowed := slices.Contains(origins, origin)
		if allowed {
			h.Set("Access-Control-Allow-Origin", origin)
		}
		if !allowed || !IsPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Content-Type, Content-Encoding")
		w.WriteHeader(http.StatusNoContent)
	})
}
