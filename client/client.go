// Package client speaks the public API of a cellhold server.
//
// Each method is one request, but for Execute, Wait and Watch, which ask again when a wait is over
// or a connection breaks. Errors are *cellhold.Error with the server's kind and sentence, or wrap
// the context's error. It refuses to submit code twice: when the answer to a submission is lost,
// the caller hears of it and decides.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"cellhold"
)

const (
	// defaultPatience is how long a server may be away: a restart with adoption takes seconds.
	defaultPatience = time.Minute
	// maxProblem is the most bytes of an error that are read.
	maxProblem = 1 << 20
)

// Options configures a Client.
type Options struct {
	URL      string        // of the server, such as "http://127.0.0.1:5002"; required
	Token    string        // empty when the server asks for none
	HTTP     *http.Client  // nil means one with a transport of its own
	Patience time.Duration // how long Wait, Execute and Watch try to reach a server that went away; 0 means one minute
}

// Client calls one server. Its methods may be called from any goroutine.
type Client struct {
	base     string
	token    string
	http     *http.Client
	patience time.Duration
}

// New returns a client. It does not call the server yet.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("client: %q is not the URL of a server, such as http://127.0.0.1:5002", o.URL)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) { // lines of the file, pasted
		return nil, errors.New("client: the token has a space or a line's end in it; a line of the server's token file is a name and a token, of which only the token is meant")
	}
	c := &Client{base: strings.TrimSuffix(o.URL, "/"), token: o.Token, http: o.HTTP, patience: o.Patience}
	if c.patience == 0 {
		c.patience = defaultPatience
	}
	if c.http == nil {
		c.http = newHTTP()
	}
	return c, nil
}

// newHTTP returns a client that keeps enough connections for many waiting goroutines, and follows
// no redirects, because the token must go to the named server only.
func newHTTP() *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 100, MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true, ExpectContinueTimeout: 2 * time.Second}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Version says what a server runs.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	API     string `json:"api"`
}

// Version asks what the server runs.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.call(ctx, http.MethodGet, "/v1/version", nil, &v)
	return v, err
}

// Ready returns nil when the server takes work, and says why not otherwise.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/v1/ready", nil, nil)
}

// call sends one request with a JSON body, and decodes the JSON of the answer into out. Either may
// be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.callWith(ctx, method, path, in, out, nil)
}

// callWith is call with more headers.
func (c *Client) callWith(ctx context.Context, method, path string, in, out any, header http.Header) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	res, err := c.send(ctx, method, path, body, header)
	if err != nil {
		return err
	}
	defer drain(res.Body)
	if out == nil {
		return nil
	}
	return decodeAnswer(ctx, c.base, res, out)
}

// decodeAnswer decodes the JSON of an answer.
func decodeAnswer(ctx context.Context, base string, res *http.Response, out any) error {
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return cellhold.Wrap(cellhold.Unavailable, err, "The answer of %s broke off.", base)
	}
	return nil
}

// send sends one request and returns an answer that is no error. The caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, cellhold.Wrap(cellhold.Invalid, err, "The request is not valid.")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, cellhold.Wrap(cellhold.Unavailable, err, "The server at %s cannot be reached: %v.", c.base, innermost(err))
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		defer drain(res.Body)
		return nil, problem(res)
	}
	return res, nil
}

// innermost returns what went wrong without the method, the address and the system call around it, which
// the caller knows or need not.
func innermost(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	return err
}

// drain reads what is left of a short answer, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxProblem)
	body.Close()
}

// problem turns an answer into an error. What is no problem document, such as the page of a proxy,
// is judged by its status.
func problem(res *http.Response) error {
	var p struct {
		Kind      cellhold.Kind `json:"kind"`
		Detail    string        `json:"detail"`
		RequestID string        `json:"request_id"`
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Kind == "" {
		return cellhold.Errorf(kindOf(res.StatusCode), "The server answered %s.", res.Status)
	}
	e := cellhold.Errorf(p.Kind, "%s", p.Detail)
	e.Err = fmt.Errorf("HTTP status %d, request %s", res.StatusCode, p.RequestID)
	return e
}

func kindOf(status int) cellhold.Kind {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return cellhold.Invalid
	case http.StatusUnauthorized, http.StatusForbidden:
		return cellhold.Denied
	case http.StatusNotFound:
		return cellhold.NotFound
	case http.StatusConflict:
		return cellhold.Conflict
	case http.StatusTooManyRequests:
		return cellhold.Exhausted
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return cellhold.Unavailable
	case http.StatusNotImplemented:
		return cellhold.Unsupported
	}
	return cellhold.Internal
}

// retry calls f again for as long as the server cannot be reached or is not ready, with growing
// pauses. Each success of f's own, told by calling alive, starts the patience anew.
func (c *Client) retry(ctx context.Context, f func(alive func()) error) error {
	const first, most = 100 * time.Millisecond, 2 * time.Second // quick after a blip, gentle on a server that starts
	pause := first
	until := time.Now().Add(c.patience)
	for {
		err := f(func() { pause, until = first, time.Now().Add(c.patience) })
		if err == nil || ctx.Err() != nil || cellhold.KindOf(err) != cellhold.Unavailable || time.Now().Add(pause).After(until) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		pause = min(2*pause, most)
	}
}
