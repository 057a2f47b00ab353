package client

import (
	"context"
	"net/http"
	"net/url"

	"cellhold"
)

// Channels has the data with which a program opens the WebSocket of a kernel. A program can use any WebSocket library.
// The messages have the form of the subprotocol v1.kernel.websocket.jupyter.org.
type Channels struct {
	URL    string
	Header http.Header  // with the token
	HTTP   *http.Client // sends the request

	client *Client
}

// Channels returns the data with which a program opens the WebSocket of kernel k. If k is empty, this is the first
// kernel. A client that connects again under its name within 10 minutes gets the messages that wait for it. Channels
// sends no request.
func (c *Client) Channels(id cellhold.SessionID, k cellhold.KernelID, name string) Channels {
	query := url.Values{}
	if k != "" {
		query.Set("kernel", string(k))
	}
	if name != "" {
		query.Set("client", name)
	}
	header := http.Header{}
	if c.token != "" {
		header.Set("Authorization", "Bearer "+c.token)
	}
	return Channels{URL: c.base + sessionPath(id, "channels") + "?" + query.Encode(), Header: header, HTTP: c.http, client: c}
}

// Refusal returns the error of a failed attempt to open the WebSocket. res is the answer of the server, or nil.
func (w Channels) Refusal(ctx context.Context, res *http.Response, err error) error {
	if res == nil || res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode < http.StatusMultipleChoices {
		return w.client.unreachable(ctx, err)
	}
	defer drain(res.Body)
	return problem(res)
}
