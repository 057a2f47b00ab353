package access

import "net/http"

// Routes registers routes that find their callers themselves: by an API key, or by the token or the signature of one
// sandbox. The guard asks for no token there.
type Routes struct {
	mux      matcher
	patterns map[string]bool
}

// matcher registers routes, and finds the route of a request as http.ServeMux does.
type matcher interface {
	Mux
	Handler(*http.Request) (h http.Handler, pattern string)
}

// NewRoutes returns Routes that register with m.
func NewRoutes(m matcher) *Routes { return &Routes{m, map[string]bool{}} }

// HandleFunc registers "METHOD /path".
func (t *Routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	t.patterns[pattern] = true
	t.mux.HandleFunc(pattern, h)
}

// Has reports whether the route of a request finds its caller itself. A browser's preflight has no caller.
func (t *Routes) Has(r *http.Request) bool {
	_, pattern := t.mux.Handler(r)
	return t.patterns[pattern] || IsPreflight(r)
}

// NoKey is the key of tokens on a server that needs none. Only sessions that were created there have one: those of callers
// with a name belong to the holders of tokens.
func NoKey(owner string) (key []byte, ok bool) { return nil, owner == "" }
