package contender

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"cellhold"
)

// most is the maximum size of an answer in bytes. The largest answers are lists of fifty sessions, and PNGs in JSON.
const most = 64 << 20

// caller keeps up to 200 idle connections to a host, as a program that uses many sessions does.
var caller = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}

// Call sends a JSON request to the server's API, for routes without a method in package client.
func (c *Cellhold) Call(ctx context.Context, method, path string, in, out any) error {
	return call(ctx, method, c.url+path, c.auth, in, out)
}

// call sends JSON and decodes JSON. in and out can be nil.
func call(ctx context.Context, method, url string, header http.Header, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	return exchange(req, out)
}

// exchange sends a request and decodes the answer.
func exchange(req *http.Request, out any) error {
	res, err := caller.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return err
	}
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed:
		return cellhold.Errorf(cellhold.NotFound, "%s %s does not exist.", req.Method, req.URL.Path)
	case res.StatusCode > 299:
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, text)
	case out == nil:
		return nil
	}
	return json.Unmarshal(text, out)
}
