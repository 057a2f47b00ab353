// Package guest is the host's end of the link to the agent in a sandbox.
//
// Nothing that comes back is trusted: user code may have taken over the agent. Every answer is
// bounded in size and time, every event is taken apart, checked and put together again from the
// fields that its type has, and every path is checked. What does not fit is left out, or ends the
// call; it never reaches the caller.
//
// It does not reconnect and does not retry beyond what is harmless: its callers know when that makes
// sense. It holds no locks.
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
	// callTimeout bounds one call but for reading events and files. Ending a busy kernel takes
	// the agent up to 3 s; a host with 20 starting sandboxes is ten times slower than an idle one.
	callTimeout = 30 * time.Second
	// fileTimeout bounds moving one file, of up to some hundred megabytes.
	fileTimeout = 2 * time.Minute
	// maxHeaders is far above the 200 bytes of headers that the agent sends.
	maxHeaders = 8 << 10
	// maxProblem bounds an error answer; it is one sentence.
	maxProblem = 4 << 10
	// maxInfo bounds the answer about a handful of kernels.
	maxInfo = 64 << 10
	// maxList bounds the list of files: all paths of full length, every byte escaped.
	maxList = guestapi.MaxFiles * (6*guestapi.MaxPath + 200)
	// maxListCommas bounds the commas of such an answer: four for each file, and room for fields
	// to come; listLevels is the list and the files in it.
	maxListCommas = 10 * guestapi.MaxFiles
	listLevels    = 2
	// maxSentence bounds foreign text that is shown as a sentence.
	maxSentence = 1000
	// idleConns is how many connections stay open between calls. One call at a time is usual,
	// an interrupt or a file beside it.
	idleConns = 2
	// maxConns bounds what a guest that never answers costs here: further calls wait, and give up.
	maxConns = 64
)

// Options configures a Client.
type Options struct {
	Dial   func(context.Context) (net.Conn, error) // opens a stream to the agent; required
	Logger *slog.Logger                            // nil discards
}

// Client calls the agent of one sandbox. All methods may be called from any goroutine.
type Client struct {
	http *http.Client
	dial func(context.Context) (net.Conn, error)
	log  *slog.Logger
}

// New returns a client. It connects when it is used.
func New(o Options) (*Client, error) {
	if o.Dial == nil {
		return nil, errors.New("guest: Options.Dial is missing")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{
		log:  o.Logger,
		dial: o.Dial,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) },
				ExpectContinueTimeout:  continueTime,
				DisableCompression:     true, // a small answer could become a large one
				MaxIdleConnsPerHost:    idleConns,
				MaxConnsPerHost:        maxConns,
				MaxResponseHeaderBytes: maxHeaders,
			},
			// A hostile agent could otherwise make us repeat requests elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close lets go of the connections that are not in use. Calls that are under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Info asks the agent who it is. The error is Unsupported if it speaks neither this version nor the one
// before; what the one before does not know, its calls say.
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

// checkInfo looks at what an agent says of itself.
func checkInfo(info guestapi.Info) error {
	if info.Version != guestapi.Version && info.Version != guestapi.Version-1 {
		return cellhold.Errorf(cellhold.Unsupported,
			"The agent in the sandbox speaks version %d of the link, this server versions %d and %d.",
			info.Version, guestapi.Version-1, guestapi.Version)
	}
	if !validName(info.Boot, 64) {
		return strange("its boot id")
	}
	for _, k := range info.Kernels {
		if !validName(string(k.ID), 40) || !validState(k.State) || !validCell(k.Cell, true) || k.Last < 0 || k.Strange < 0 {
			return strange("the state of a kernel")
		}
	}
	for _, id := range info.Commands {
		if !cellPattern().MatchString(string(id)) {
			return strange("the id of a command")
		}
	}
	return nil
}

// strange is the error for an answer that the agent would not give if it were ours.
func strange(what string) error {
	return cellhold.Errorf(cellhold.Internal, "The agent in the sandbox sent something that makes no sense: %s.", what)
}

// request is one call.
type request struct {
	method, path string
	query        url.Values
	body         io.Reader
	size         int64 // of the body
	once         bool  // must not be sent a second time
	expect       bool  // the body is sent when the guest has looked at the rest
}

// do sends a request and returns the answer if it is a success. The caller closes its body.
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
		// A file that is refused is then refused before it is sent, all the way from the caller.
		req.Header.Set("Expect", "100-continue")
	}
	if !r.once {
		// Not sent; it allows the transport to try again when a kept connection turns out to
		// be dead, as all are after the link was reset.
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
		// The body is the bare connection now, which no context ends: a guest could hold us for ever.
		resp.Body.Close()
		return nil, strange("an answer that changes the protocol")
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// call sends a request whose answer has no content that matters.
func (c *Client) call(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	// Read to its end, so that the connection can be used again; an answer that has no end here
	// costs the guest its connection.
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

// receiveWithin is receive for what may take its time.
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
		return cellhold.Wrap(cellhold.Unavailable, err, "The sandbox broke off its answer.")
	}
	if int64(len(b)) > limit || !fits(b, listLevels, maxListCommas) {
		return strange("an answer that is too long")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return strange("an answer that is not the expected JSON")
	}
	return nil
}

// kinds is the kind of error for each status that the agent answers with.
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

// refused is the error of an answer with that status, whose sentence may be missing.
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

// sentence makes foreign text fit to be shown: one line, printable, short.
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
