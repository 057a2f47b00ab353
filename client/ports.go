package client

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cellhold"
)

// Ports returns how programs reach the ports of the session.
func (c *Client) Ports(ctx context.Context, id cellhold.SessionID) (cellhold.PortAccess, error) {
	var p cellhold.PortAccess
	err := c.call(ctx, http.MethodGet, sessionPath(id, "ports"), nil, &p)
	return p, err
}

// PortRequest is an HTTP request to a program that listens on a port of a session.
type PortRequest struct {
	Method string // empty means GET
	Port   int    // from 1 to 65535
	Path   string // path of the request, percent-encoded, which can have a query
	Header http.Header
	Body   io.Reader // nil means an empty body
}

// UsePort sends a request to a program of the session, and returns the answer of the program with its own status. The
// answer comes from untrusted code. The caller must close its body. UsePort follows no redirect. It sends the request
// once, except that net/http repeats requests such as GET if a kept connection breaks. The error is NotFound if no program listens on the port, and Invalid if the path leaves the port.
func (c *Client) UsePort(ctx context.Context, id cellhold.SessionID, r PortRequest) (*http.Response, error) {
	target, err := portPath(id, r.Port, r.Path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.base+target, r.Body)
	if err != nil {
		return nil, cellhold.Wrap(cellhold.Invalid, err, "The request cannot be built: check the method and the path.")
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	direct := *c.http // the program chooses the target of a redirect
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := direct.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	// A program can send a document that looks like an error of the server. It gains nothing by that.
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "application/problem+json" {
		defer drain(res.Body)
		return nil, problem(res)
	}
	return res, nil
}

// portPath returns the path of a request to a port. It refuses a path that leaves the port after decoding: that would be
// another request to the server, with the token.
func portPath(id cellhold.SessionID, port int, path string) (string, error) {
	if port < 1 || port > 65535 {
		return "", cellhold.Errorf(cellhold.Invalid, "Invalid port %d: use a number from 1 to 65535.", port)
	}
	bare, _, _ := strings.Cut(path, "?")
	plain, err := url.PathUnescape(bare)
	leaves := func(part string) bool { return part == "." || part == ".." }
	if err != nil || slices.ContainsFunc(strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }), leaves) {
		return "", cellhold.Wrap(cellhold.Invalid, err, "Invalid path %.80q: use a percent-encoded path without . and .. parts.", path)
	}
	return sessionPath(id, "ports", strconv.Itoa(port)) + "/" + strings.TrimPrefix(path, "/"), nil
}
