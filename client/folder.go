package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cellhold"
)

// maxWatchLine is the maximum number of bytes of one line of a watch.
const maxWatchLine = 64 << 10

// filesPath returns the path and query of a request for the files of a sandbox.
func filesPath(id cellhold.SessionID, route string, query url.Values) string {
	return sessionPath(id, "files") + route + "?" + query.Encode()
}

// ListDir returns all entries of a directory of the sandbox. An empty path means /workspace.
func (c *Client) ListDir(ctx context.Context, id cellhold.SessionID, path string) ([]cellhold.FileInfo, error) {
	all, _, err := c.ListDirUpTo(ctx, id, path, math.MaxInt)
	return all, err
}

// maxPage is the maximum number of entries in one page of a listing.
const maxPage = 1000

// ListDirUpTo returns the first limit entries of a directory, and reports whether there are more. It requests
// only the pages that it needs, because code in the sandbox can create entries without end. An empty path
// means /workspace.
func (c *Client) ListDirUpTo(ctx context.Context, id cellhold.SessionID, path string, limit int) (all []cellhold.FileInfo, more bool, err error) {
	query := url.Values{}
	if path != "" {
		query.Set("path", path)
	}
	for len(all) < limit {
		if left := limit - len(all); left < maxPage {
			query.Set("limit", strconv.Itoa(left))
		}
		var page struct {
			Entries []cellhold.FileInfo `json:"entries"`
			Next    string              `json:"next"`
		}
		if err := c.call(ctx, http.MethodGet, filesPath(id, "", query), nil, &page); err != nil {
			return all, false, err
		}
		all = append(all, page.Entries...)
		switch {
		case len(all) > limit:
			return all[:limit], true, nil
		case page.Next == "":
			return all, false, nil
		}
		next, err := url.PathUnescape(page.Next)
		if err != nil || len(page.Entries) == 0 || next == query.Get("after") {
			return all, true, cellhold.Wrap(cellhold.Internal, err, "The server sent an invalid next page %.40q.", page.Next)
		}
		query.Set("after", next)
	}
	return all, true, nil
}

// StatFile returns the attributes of a path. It does not follow a symbolic link.
func (c *Client) StatFile(ctx context.Context, id cellhold.SessionID, path string) (cellhold.FileInfo, error) {
	var f cellhold.FileInfo
	err := c.call(ctx, http.MethodGet, filesPath(id, "/stat", url.Values{"path": {path}}), nil, &f)
	return f, err
}

// ReadFile opens a file of the sandbox. If the connection breaks before the end of the file, Read returns an
// error. The caller must close the reader.
func (c *Client) ReadFile(ctx context.Context, id cellhold.SessionID, path string) (io.ReadCloser, error) {
	return c.ReadFileFrom(ctx, id, path, 0)
}

// ReadFileFrom is like ReadFile, but begins at a byte offset. If a positive offset is at or after the end of the file,
// the error is Invalid.
func (c *Client) ReadFileFrom(ctx context.Context, id cellhold.SessionID, path string, offset int64) (io.ReadCloser, error) {
	var header http.Header
	if offset > 0 {
		header = http.Header{"Range": {"bytes=" + strconv.FormatInt(offset, 10) + "-"}}
	}
	res, err := c.send(ctx, http.MethodGet, filesPath(id, "/content", url.Values{"path": {path}}), nil, header)
	if offset > 0 && err == nil && res.StatusCode != http.StatusPartialContent {
		res.Body.Close()
		err = cellhold.Errorf(cellhold.Internal, "The server sent the whole file instead of the part from byte %d.", offset)
	}
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// WriteFile writes a file completely or not at all. With mode 0, an existing file keeps its mode, and a new
// file gets 0644.
func (c *Client) WriteFile(ctx context.Context, id cellhold.SessionID, path string, r io.Reader, mode uint32) (cellhold.FileInfo, error) {
	query := url.Values{"path": {path}}
	if mode != 0 {
		query.Set("mode", "0"+strconv.FormatUint(uint64(mode), 8))
	}
	var f cellhold.FileInfo
	err := c.put(ctx, filesPath(id, "/content", query), r, &f)
	return f, err
}

// put uploads a body, which can be long. With "Expect: 100-continue", the server can refuse the request
// before put sends the body.
func (c *Client) put(ctx context.Context, path string, r io.Reader, out any) error {
	res, err := c.send(ctx, http.MethodPut, path, r, http.Header{"Expect": {"100-continue"}, "Content-Type": {"application/octet-stream"}})
	if err != nil {
		return err
	}
	defer drain(res.Body)
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The answer of %s cannot be read: the connection broke, or the answer is not JSON.", c.base)
	}
	return nil
}

// MakeDir creates a directory and its missing parents.
func (c *Client) MakeDir(ctx context.Context, id cellhold.SessionID, path string) error {
	return c.call(ctx, http.MethodPost, filesPath(id, "/directory", url.Values{"path": {path}}), nil, nil)
}

// MoveFile moves a file or directory. If the target exists, replace must be true.
func (c *Client) MoveFile(ctx context.Context, id cellhold.SessionID, from, to string, replace bool) error {
	query := url.Values{"from": {from}, "to": {to}, "replace": {strconv.FormatBool(replace)}}
	return c.call(ctx, http.MethodPost, filesPath(id, "/move", query), nil, nil)
}

// RemoveFile removes a file or directory. If a directory is not empty, recursive must be true.
func (c *Client) RemoveFile(ctx context.Context, id cellhold.SessionID, path string, recursive bool) error {
	query := url.Values{"path": {path}, "recursive": {strconv.FormatBool(recursive)}}
	return c.call(ctx, http.MethodDelete, filesPath(id, "", query), nil, nil)
}

// PackDir opens a directory of the sandbox as an archive: tar, tgz or zip. User code can choose the names
// in the archive, so a program that unpacks the archive must check every name. The caller must close the reader.
func (c *Client) PackDir(ctx context.Context, id cellhold.SessionID, path, format string) (io.ReadCloser, error) {
	res, err := c.send(ctx, http.MethodGet, filesPath(id, "/archive", url.Values{"path": {path}, "format": {format}}), nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// UnpackDir unpacks a tar, tgz or zip archive into a directory of the sandbox, completely or not at all.
func (c *Client) UnpackDir(ctx context.Context, id cellhold.SessionID, path string, archive io.Reader) error {
	var done struct{}
	return c.put(ctx, filesPath(id, "/archive", url.Values{"path": {path}}), archive, &done)
}

// WatchDir yields the changes in a directory until ctx ends. An empty path means /workspace. The first
// element is an empty FileChange. It means that the watch has begun and that WatchDir reports all later changes. If the
// watch ends before ctx, the last element is an error.
func (c *Client) WatchDir(ctx context.Context, id cellhold.SessionID, path string, recursive bool) iter.Seq2[cellhold.FileChange, error] {
	return func(yield func(cellhold.FileChange, error) bool) {
		query := url.Values{"recursive": {strconv.FormatBool(recursive)}}
		if path != "" {
			query.Set("path", path)
		}
		res, err := c.send(ctx, http.MethodGet, filesPath(id, "/watch", query), nil, nil)
		if err != nil {
			yield(cellhold.FileChange{}, err)
			return
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, maxWatchLine)
		event := ""
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				event = value
			case name != "data" || event == "bye": // the server sends bye when it ends the watch
				continue
			default:
				var change cellhold.FileChange
				err := json.NewDecoder(bytes.NewReader([]byte(value))).Decode(&change)
				if !yield(change, err) || err != nil {
					return
				}
			}
		}
		if ctx.Err() == nil {
			err := errors.Join(lines.Err(), io.ErrUnexpectedEOF)
			yield(cellhold.FileChange{}, cellhold.Wrap(cellhold.Unavailable, err, "The watch ended. Watch again and list the directory, because changes can be missing."))
		}
	}
}
