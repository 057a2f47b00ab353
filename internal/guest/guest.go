// Package guest is the host's end of the link to the agent in a sandbox.
//
// It trusts no answer, because user code can have taken over the agent. Every answer is bounded in size and
// time. Every event is decoded, checked and encoded again from the fields of its type. Every path is
// checked. Invalid data is left out, or ends the call; it never reaches the caller.
//
// It does not reconnect. It retries only requests that the agent can receive twice. All other retries are the
// callers' decision.
package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// callTimeout bounds one call, except reads of events and files. The agent takes up to 3 s to end a
	// busy kernel. A host that starts 20 sandboxes is ten times slower than an idle
	// host.
	callTimeout = 30 * time.Second
	// fileTimeout bounds the transfer of one file of up to some hundred megabytes.
	fileTimeout = 2 * time.Minute
	// maxHeaders is far above the 200 bytes of headers that the agent sends.
	maxHeaders = 8 << 10
	// maxProblem bounds an error answer, which is one sentence.
	maxProblem = 4 << 10
	// maxInfo bounds the state of the agent, with all its kernels.
	maxInfo = 64 << 10
	// maxList bounds the list of files: all paths of full length with every byte escaped.
	maxList = guestapi.MaxFiles * (6*guestapi.MaxPath + 200)
	// maxListCommas bounds the commas in the list of files: four for each file, and space for new fields. The
	// commas are counted in listLevels levels: in the list, and in the files of the list.
	maxListCommas = 10 * guestapi.MaxFiles
	listLevels    = 2
	// maxSentence bounds text of the guest that is shown as a sentence.
	maxSentence = 1000
	// idleConns is the number of connections that stay open between calls. Usually there is one call at a
	// time, and sometimes an interrupt or a file in parallel.
	idleConns = 2
	// maxConns bounds the connections to a guest that never answers. Further calls wait, and time out.
	maxConns = 64
)

// Options configures a Client.
type Options struct {
	Dial   func(context.Context) (net.Conn, error) // opens a stream to the agent; required
	Logger *slog.Logger                            // nil discards
}

// Client calls the agent of one sandbox. Its methods are safe for concurrent use.
type Client struct {
	http  *http.Client
	dial  func(context.Context) (net.Conn, error)
	log   *slog.Logger
	wires chan struct{} // see Wire.turn
	large chan struct{} // capacity 1: held by the large event that arrives
}

// New returns a client. It connects at the first call.
func New(o Options) (*Client, error) {
	if o.Dial == nil {
		return nil, errors.New("guest: Options.Dial is missing")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{
		log:   o.Logger,
		dial:  o.Dial,
		wires: make(chan struct{}, 1),
		large: make(chan struct{}, 1),
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) },
				ExpectContinueTimeout:  continueTime,
				DisableCompression:     true, // a small answer could expand to a large one
				MaxIdleConnsPerHost:    idleConns,
				MaxConnsPerHost:        maxConns,
				MaxResponseHeaderBytes: maxHeaders,
			},
			// Otherwise a hostile agent could make the client repeat requests elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close closes the idle connections. Calls in progress continue.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Info returns the state of the agent. The error is Unsupported unless the agent has this version of the
// protocol or the one before. With an older agent, some calls return Unsupported.
func (c *Client) Info(ctx context.Context) (guestapi.Info, error) {
	var info guestapi.Info
	if err := c.get(ctx, "/v1/info", maxInfo, &info); err != nil {
		return guestapi.Info{}, fmt.Errorf("ask the agent for its state: %w", err)
	}
	if err := checkInfo(info); err != nil {
		return guestapi.Info{}, err
	}
	return info, nil
}

// checkInfo checks the agent's answer about itself.
func checkInfo(info guestapi.Info) error {
	if info.Version != guestapi.Version && info.Version != guestapi.Version-1 {
		return cellhold.Errorf(cellhold.Unsupported,
			"The agent in the sandbox has version %d of the protocol; this server supports versions %d and %d.",
			info.Version, guestapi.Version-1, guestapi.Version)
	}
	if !validName(info.Boot, 64) {
		return invalidData("its boot id")
	}
	for _, k := range info.Kernels {
		if !validName(string(k.ID), 40) || !validState(k.State) || !validCell(k.Cell, true) || k.Last < 0 || k.Strange < 0 {
			return invalidData("the state of a kernel")
		}
	}
	for _, id := range info.Commands {
		if !cellPattern().MatchString(string(id)) {
			return invalidData("the id of a command")
		}
	}
	return nil
}

// invalidData returns the error for an answer that a correct agent never sends.
func invalidData(what string) error {
	return cellhold.Errorf(cellhold.Internal, "The agent in the sandbox sent invalid data: %s.", what)
}

// invalidForm returns the error for data that cannot be skipped.
func invalidForm(what string) error {
	return cellhold.Wrap(cellhold.Internal, guestapi.ErrForm, "The agent in the sandbox sent invalid data: %s.", what)
}

// request is one call.
type request struct {
	method, path string
	query        url.Values
	body         io.Reader
	size         int64 // of the body
	once         bool  // must not be sent twice
	expect       bool  // the body is sent after the guest has accepted the headers
}

// do sends a request and returns a successful answer. The caller must close its body.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "agent", Path: r.path, RawQuery: r.query.Encode()}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), r.body)
	if err != nil {
		return nil, err
	}
	if r.size != 0 {
		req.ContentLength = r.size
	}
	if r.expect && r.body != nil {
		// With this header the agent can refuse a file before the caller sends it.
		req.Header.Set("Expect", "100-continue")
	}
	if !r.once {
		// The transport does not send this header. The header lets the transport retry when an idle connection
		// is closed. After a reset of the link, all idle connections are closed.
		req.Header["X-Idempotency-Key"] = nil
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, cellhold.Wrap(cellhold.Unavailable, err, "The sandbox does not answer.")
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The body is the connection itself now. No context ends its reads, so a guest could block the caller
		// forever.
		resp.Body.Close()
		return nil, invalidData("an answer that changes the protocol")
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// call sends a request whose answer has no relevant content.
func (c *Client) call(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	// The answer is read to its end, so that the connection can be reused. If it is too long, the
	// connection is closed.
	io.CopyN(io.Discard, resp.Body, maxProblem)
	return resp.Body.Close()
}

// send is call with a JSON body.
func (c *Client) send(ctx context.Context, r request, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r.body = bytes.NewReader(b)
	return c.call(ctx, r)
}

// get reads a bounded JSON answer.
func (c *Client) get(ctx context.Context, path string, limit int64, v any) error {
	return c.receive(ctx, request{method: http.MethodGet, path: path}, limit, v)
}

// receive sends a request and reads a bounded JSON answer.
func (c *Client) receive(ctx context.Context, r request, limit int64, v any) error {
	return c.receiveWithin(ctx, callTimeout, r, limit, v)
}

// receiveWithin is receive with another timeout.
func (c *Client) receiveWithin(ctx context.Context, d time.Duration, r request, limit int64, v any) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The sandbox's answer ended early.")
	}
	if int64(len(b)) > limit || !fits(b, listLevels, maxListCommas) {
		return invalidData("an answer that is too long")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return invalidData("an answer that is not the expected JSON")
	}
	return nil
}

// kinds maps the statuses of the agent's answers to kinds of errors.
var kinds = map[int]cellhold.Kind{
	http.StatusBadRequest:            cellhold.Invalid,
	http.StatusNotFound:              cellhold.NotFound,
	http.StatusConflict:              cellhold.Conflict,
	http.StatusForbidden:             cellhold.Denied,
	http.StatusServiceUnavailable:    cellhold.Unavailable,
	http.StatusRequestEntityTooLarge: cellhold.Exhausted,
	http.StatusNotImplemented:        cellhold.Unsupported,
}

func problem(resp *http.Response) error {
	var p guestapi.Problem
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil || json.Unmarshal(b, &p) != nil {
		p.Error = ""
	}
	return refused(resp.StatusCode, p.Error)
}

// refused returns the error of an answer. The message may be missing.
func refused(status int, message string) error {
	kind, ok := kinds[status]
	if !ok {
		kind = cellhold.Internal
	}
	if message == "" {
		message = fmt.Sprintf("The agent in the sandbox answered with status %d.", status)
	}
	return &cellhold.Error{Kind: kind, Message: sentence(message)}
}

// sentence makes a text of the guest safe to show: one line, printable and short.
func sentence(s string) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= maxSentence {
		return s
	}
	return strings.ToValidUTF8(s[:maxSentence], "") + "…"
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
