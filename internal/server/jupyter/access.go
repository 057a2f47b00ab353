package jupyter

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Owns reports whether a request is for a route of this package. These routes find their callers themselves.
func Owns(r *http.Request) bool {
	p := strings.TrimPrefix(r.URL.Path, Prefix)
	return p == "/api" || p == "/tree" || strings.HasPrefix(p, "/api/") || strings.HasPrefix(p, "/kernelspecs/") || strings.HasPrefix(p, "/files/")
}

// IsLong reports whether the body of a request can be longer than that of other requests. The route refuses such a body
// itself, with an error that Jupyter's clients can show.
func IsLong(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasPrefix(strings.TrimPrefix(r.URL.Path, Prefix), "/api/contents/")
}

// caller returns the caller of a request, by the token in its header or in its query. Browsers cannot send a header with
// a WebSocket, and some clients never do.
func (s *Server) caller(r *http.Request) (name string, known bool) {
	if s.Caller == nil {
		return "", true
	}
	tokens := r.URL.Query()["token"]
	if values := headerTokens(r.Header); len(values) > 0 {
		tokens = values
	}
	if len(tokens) != 1 || tokens[0] == "" {
		return "", false
	}
	return s.Caller(tokens[0])
}

// headerTokens returns the tokens in a header. A token of another scheme is the empty text. Gateway clients without a token
// send the scheme alone, which counts as no header.
func headerTokens(h http.Header) []string {
	var tokens []string
	for _, v := range h.Values("Authorization") {
		scheme, token, _ := strings.Cut(strings.TrimSpace(v), " ")
		known := strings.EqualFold(scheme, "token") || strings.EqualFold(scheme, "bearer")
		switch {
		case !known:
			tokens = append(tokens, "")
		case token != "":
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}
	return tokens
}

// tokenPath begins the paths that contain a token: /jupyter/t/TOKEN/api and so on.
const tokenPath = Prefix + "/t/"

// ByPath takes the token out of a path, so that no log and no message can have it. If allowed is set, the token is used
// as the token of the request. The caller must wrap everything else that reads a path.
func ByPath(allowed bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := path.Clean(r.URL.Path)
		rest, found := strings.CutPrefix(clean, tokenPath)
		if !found && (clean == r.URL.Path || !strings.Contains(r.URL.Path, "/t/")) {
			next.ServeHTTP(w, r)
			return
		}
		token, rest, _ := strings.Cut(rest, "/")
		to := url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: Prefix + "/" + rest, RawQuery: r.URL.RawQuery}
		if !found { // a path such as /jupyter/t/TOKEN/../..: the cleaned one has no token
			to.Path = clean
		}
		inner := *r
		if found && allowed {
			inner = *r.WithContext(marked(r.Context()))
		}
		inner.URL, inner.Header, inner.RequestURI = &to, r.Header.Clone(), to.RequestURI()
		if found && allowed && len(headerTokens(inner.Header)) == 0 {
			inner.Header.Set("Authorization", "token "+token)
		}
		next.ServeHTTP(w, &inner)
	})
}
