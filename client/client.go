// Package client calls the HTTP API of a cellhold server.
//
// Most methods send one request. Methods that read a list in pages send one request for each page. Methods that
// wait, watch or feed input repeat their requests when a wait ends or a connection breaks. An error
// answer of the server is a *cellhold.Error with the server's kind and message. If the server cannot be reached, the
// kind is Unavailable. If the context ends, the error wraps the context's error.
//
// The client retries the submission of a batch with a key, and the server runs its code once. The client submits all
// other code once: if the answer is lost, the caller gets an error and decides whether to submit again.
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
	// defaultPatience is the default of Options.Patience. A server that restarts and adopts sandboxes is ready within
	// seconds.
	defaultPatience = time.Minute
	// maxProblem is the maximum number of bytes that the client reads from an error answer.
	maxProblem = 1 << 20
)

// Options configures a Client.
type Options struct {
	URL      string        // URL of the server, such as "http://127.0.0.1:5002"; required
	Token    string        // empty if the server needs no token
	HTTP     *http.Client  // nil means a new client with its own transport
	Patience time.Duration // retry time of methods that wait, watch or feed input; 0 means one minute
}

// Client calls one server. Its methods can be called from any goroutine.
type Client struct {
	base     string
	token    string
	http     *http.Client
	patience time.Duration
}

// New returns a client. It sends no request.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("client: invalid server URL %q: use a URL such as http://127.0.0.1:5002", o.URL)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) { // a caller can pass a complete line of the token file by mistake
		return nil, errors.New("client: the token has a space, a line break or a character that is not ASCII. A line of the server's token file has a name and a token; use only the token")
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

// newHTTP returns an http.Client that keeps enough connections for many waiting goroutines. The http.Client does not
// follow redirects, because only the server of Options.URL must get the token.
func newHTTP() *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 100, MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true, ExpectContinueTimeout: 2 * time.Second}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Version has the versions of a server.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	API     string `json:"api"`
}

// Version returns the versions of the server.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.call(ctx, http.MethodGet, "/v1/version", nil, &v)
	return v, err
}

// Ready returns nil if the server is ready, otherwise an error with the reason.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/v1/ready", nil, nil)
}

// call sends one request with in as the JSON body, and decodes the JSON answer into out. in and out can be
// nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.callWith(ctx, method, path, in, out, nil)
}

// callWith is like call, with additional headers.
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
		return cellhold.Wrap(cellhold.Unavailable, err, "The answer of %s cannot be read: the connection broke, or the answer is not JSON.", base)
	}
	return nil
}

// send sends one request and returns the answer if its status is 2xx. Any other status is an error. The caller must
// close the body of the answer.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, cellhold.Wrap(cellhold.Invalid, err, "The request cannot be built: check the arguments.")
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
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		defer drain(res.Body)
		return nil, problem(res)
	}
	return res, nil
}

// unreachable returns the error of a request without an answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The server at %s cannot be reached: %v.", c.base, innermost(err))
}

// innermost returns the cause of a connection error, without the method, the address and the system call.
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

// drain reads up to maxProblem bytes of a body and closes the body. After a short answer the connection can be used
// again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxProblem)
	body.Close()
}

// problem converts an error answer to an error. If the answer is not a problem document, the HTTP status decides the
// kind. The page of a proxy is an example of such an answer.
func problem(res *http.Response) error {
	var p struct {
		Kind      cellhold.Kind `json:"kind"`
		Detail    string        `json:"detail"`
		RequestID string        `json:"request_id"`
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Kind == "" {
		return cellhold.Errorf(kindOf(res.StatusCode), "The server answered with status %s.", res.Status)
	}
	e := cellhold.Errorf(p.Kind, "%s", p.Detail)
	e.Err = fmt.Errorf("HTTP status %d, request %s", res.StatusCode, p.RequestID)
	return e
}

func kindOf(status int) cellhold.Kind {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestedRangeNotSatisfiable:
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

// retry calls f again while the error of f is Unavailable: the server cannot be reached or is not ready. The pauses
// between the calls grow. retry returns the error after c.patience without progress. To report progress, f calls alive.
// Then the time limit and the pauses begin again.
func (c *Client) retry(ctx context.Context, f func(alive func()) error) error {
	// The first pause is short, for a broken connection. The longest pause is for a server that starts.
	const first, most = 100 * time.Millisecond, 2 * time.Second
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
