package guest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
)

// Files lists the regular files below guestapi.OutputDir, sorted by path. Each path occurs once. It fails if
// any entry is invalid, because a correct agent sends no such entry.
func (c *Client) Files(ctx context.Context) ([]guestapi.File, error) {
	var list []guestapi.File
	err := c.get(ctx, "/v1/output", maxList, &list)
	if err == nil {
		err = checkFiles(list)
	}
	if err != nil {
		return nil, fmt.Errorf("list the output files: %w", err)
	}
	return list, nil
}

// checkFiles checks a list and sorts it by path. It replaces an implausible time by 1970.
func checkFiles(list []guestapi.File) error {
	if len(list) > guestapi.MaxFiles {
		return invalidData("too many files")
	}
	for i := range list {
		f := &list[i]
		if !ValidPath(f.Path) || f.Size < 0 {
			return invalidData("an invalid file")
		}
		// The guest can send any time. The JSON encoder and some file systems refuse extreme years.
		if f.Modified = f.Modified.UTC(); f.Modified.Year() < 1970 || f.Modified.Year() > 2200 {
			f.Modified = time.Unix(0, 0).UTC()
		}
	}
	slices.SortFunc(list, func(a, b guestapi.File) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(list); i++ {
		if list[i].Path == list[i-1].Path {
			return invalidData("the same file twice")
		}
	}
	return nil
}

// ValidPath reports whether a path from the guest is relative, clean, printable, and within the limits of
// package guestapi.
func ValidPath(p string) bool {
	return len(p) <= guestapi.MaxPath && strings.Count(p, "/") < guestapi.MaxDepth &&
		p != "." && fs.ValidPath(p) && utf8.ValidString(p) && !strings.ContainsFunc(p, isControl)
}

// ReadFile opens one output file. The reader returns at most limit bytes. It fails if the guest sends fewer
// bytes than it announced. The caller must close it.
func (c *Client) ReadFile(ctx context.Context, path string, limit int64) (io.ReadCloser, error) {
	if !ValidPath(path) {
		return nil, cellhold.Errorf(cellhold.Invalid, "The path must be relative and printable, without empty, \".\" or \"..\" parts.")
	}
	ctx, cancel := context.WithTimeout(ctx, fileTimeout)
	resp, err := c.do(ctx, request{method: http.MethodGet, path: "/v1/output/file", query: url.Values{"path": {path}}})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read output file %q: %w", path, err)
	}
	return &fileReader{Reader: io.LimitReader(resp.Body, limit), body: resp.Body, cancel: cancel}, nil
}

// fileReader reads the body of an answer. Close ends the request.
type fileReader struct {
	io.Reader
	body   io.Closer
	cancel context.CancelFunc
}

func (r *fileReader) Close() error {
	r.cancel()
	return r.body.Close()
}

// WriteFile writes exactly size bytes of r to one output file. It replaces an existing file.
func (c *Client) WriteFile(ctx context.Context, path string, r io.Reader, size int64) error {
	if !ValidPath(path) {
		return cellhold.Errorf(cellhold.Invalid, "The path must be relative and printable, without empty, \".\" or \"..\" parts.")
	}
	ctx, cancel := context.WithTimeout(ctx, fileTimeout)
	defer cancel()
	req := request{method: http.MethodPut, path: "/v1/output/file", query: url.Values{"path": {path}}, size: size, once: true}
	if size > 0 { // otherwise package http sends the empty body with an unknown size
		req.body = r
	}
	resp, err := c.do(ctx, req)
	if err != nil {
		return fmt.Errorf("write output file %q: %w", path, err)
	}
	return resp.Body.Close()
}
