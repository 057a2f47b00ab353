package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// stallTimeout is how long a transfer can make no progress. It is longer than the minute after which the agent
	// replaces a stopped deputy.
	stallTimeout = 90 * time.Second
	// continueTime is the time that a guest has to accept a request. After this time, the body is sent
	// without an acceptance.
	continueTime = 10 * time.Second
	// answerTimeout is the time that a guest has for an operation on many files.
	answerTimeout = 3 * time.Minute
	// maxListing bounds one page. Real pages are smaller. Only a page of links whose names and targets have their
	// full length, with every byte escaped, would need 13 MB.
	maxListing = 8 << 20
	// maxListingCommas bounds the commas of a page: eight fields for each entry, and space for new ones.
	maxListingCommas = 16 * guestapi.MaxPage
	// maxVersion is far above the length of a version, which has three numbers.
	maxVersion = 64
)

// errStalled and errSlow are the causes with which a call ends when the guest makes no progress.
var (
	errStalled = cellhold.Errorf(cellhold.Unavailable, "The transfer of the file made no progress. Try again.")
	errSlow    = cellhold.Errorf(cellhold.Unavailable, "The file operation timed out and may still complete. Check before you try again.")
)

func files(route string) string { return "/v1/files" + route }

// ask sends a request about files and decodes the bounded answer. out may be nil.
func (c *Client) ask(ctx context.Context, r request, limit int64, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errSlow)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	return decodeFiles(resp, limit, out)
}

func decodeFiles(resp *http.Response, limit int64, out any) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The sandbox's answer ended early.")
	}
	if out == nil {
		return nil
	}
	if int64(len(b)) > limit || !fits(b, listLevels+1, maxListingCommas) {
		return invalidData("an answer that is too long")
	}
	if json.Unmarshal(b, out) != nil {
		return invalidData("an answer that is not the expected JSON")
	}
	return nil
}

// Stat describes the entry at a path. For a link it describes the link itself, or its target if follow is
// set.
func (c *Client) Stat(ctx context.Context, p string, follow bool) (cellhold.FileInfo, error) {
	q := url.Values{"path": {p}}
	if follow {
		q.Set("follow", "true")
	}
	return c.entry(ctx, request{method: http.MethodGet, path: files("/stat"), query: q})
}

func (c *Client) entry(ctx context.Context, r request) (cellhold.FileInfo, error) {
	var e guestapi.Entry
	if err := c.ask(ctx, r, maxListing, &e); err != nil {
		return cellhold.FileInfo{}, err
	}
	return checkEntry(e)
}

// ListDir returns one page of a directory: at most limit entries whose names come after a name.
func (c *Client) ListDir(ctx context.Context, p, after string, limit int) (list []cellhold.FileInfo, more bool, err error) {
	q := url.Values{"path": {p}, "after": {after}, "limit": {strconv.Itoa(limit)}}
	var l guestapi.Listing
	if err := c.ask(ctx, request{method: http.MethodGet, path: files(""), query: q}, maxListing, &l); err != nil {
		return nil, false, err
	}
	if list, err = checkListing(l, after, limit); err != nil {
		return nil, false, err
	}
	return list, l.More, nil
}

// checkListing checks the entries of a page. They must come after a name, sorted, and at most limit entries. So a
// loop over all pages ends.
func checkListing(l guestapi.Listing, after string, limit int) ([]cellhold.FileInfo, error) {
	dir, err := checkGuestPath(l.Path)
	if err != nil || len(l.Entries) > limit || l.More && len(l.Entries) == 0 {
		return nil, invalidData("an invalid listing")
	}
	list := make([]cellhold.FileInfo, 0, len(l.Entries))
	for _, e := range l.Entries {
		name, err := url.PathUnescape(e.Name)
		if err != nil || !validFileName(name) || name <= after {
			return nil, invalidData("an invalid name")
		}
		after = name
		e.Path = cellhold.EscapePath(path.Join(dir, name))
		f, err := checkEntry(e)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

func validFileName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= guestapi.MaxFileName && !strings.ContainsAny(name, "/\x00")
}

// checkGuestPath decodes an absolute path.
func checkGuestPath(escaped string) (string, error) {
	p, err := url.PathUnescape(escaped)
	if err != nil || !strings.HasPrefix(p, "/") || len(p) > 2*guestapi.MaxFilePath || strings.ContainsRune(p, 0) || path.Clean(p) != p {
		return "", invalidData("an invalid path")
	}
	return p, nil
}

var fileTypes = map[string]cellhold.FileType{
	"file": cellhold.FileRegular, "directory": cellhold.FileDirectory, "symlink": cellhold.FileSymlink, "other": cellhold.FileOther,
}

func checkEntry(e guestapi.Entry) (cellhold.FileInfo, error) {
	p, err := checkGuestPath(e.Path)
	if err != nil {
		return cellhold.FileInfo{}, err
	}
	target, err := url.PathUnescape(e.Target)
	kind := fileTypes[e.Type]
	if err != nil || kind == "" || e.Size < 0 || e.Mode > 0o777 || len(target) > guestapi.MaxFilePath || !validVersion(e.Version) {
		return cellhold.FileInfo{}, invalidData("an invalid file")
	}
	f := cellhold.FileInfo{Type: kind, Size: e.Size, Modified: e.Modified.UTC(), Mode: fmt.Sprintf("%04o", e.Mode),
		Target: strings.ToValidUTF8(target, "\uFFFD"), Version: e.Version}
	f.Path, f.Escaped = shown(p)
	if year := f.Modified.Year(); year < 1970 || year > 2200 {
		f.Modified = time.Unix(0, 0).UTC()
	}
	return f, nil
}

// shown returns a path for JSON. If JSON cannot express it exactly, escaped is the percent-encoded path.
func shown(p string) (text, escaped string) {
	if utf8.ValidString(p) {
		return p, ""
	}
	return strings.ToValidUTF8(p, "\uFFFD"), cellhold.EscapePath(p)
}

// validVersion checks a version, because it becomes part of a header.
func validVersion(v string) bool {
	return v != "" && len(v) <= maxVersion && strings.Trim(v, "0123456789abcdef-") == ""
}

// Open opens a whole file. info describes the file that is read, as it was at the open: growth of the file or another
// file at its path changes neither info nor the bytes. info has no path. The reader fails if the guest sends fewer
// bytes than info says, and never returns more. An agent of an older version returns Unsupported. The caller must close
// the reader.
func (c *Client) Open(ctx context.Context, p string) (info cellhold.FileInfo, r io.ReadCloser, err error) {
	r, h, err := c.content(ctx, url.Values{"path": {p}})
	if err != nil {
		return info, nil, err
	}
	if h.version == "" {
		r.Close()
		return info, nil, cellhold.Errorf(cellhold.Unsupported, "The agent in the sandbox does not say which version of a file it sends.")
	}
	return cellhold.FileInfo{Type: cellhold.FileRegular, Size: h.length, Modified: h.modified, Version: h.version}, r, nil
}

// ReadAt opens length bytes of a file from an offset. If version is set, the file must have it. The reader fails
// if the guest sends fewer bytes, and never returns more. The caller must close it.
func (c *Client) ReadAt(ctx context.Context, p, version string, offset, length int64) (io.ReadCloser, error) {
	q := url.Values{"path": {p}, "offset": {strconv.FormatInt(offset, 10)}, "length": {strconv.FormatInt(length, 10)}}
	if version != "" {
		q.Set("version", version)
	}
	r, h, err := c.content(ctx, q)
	if err != nil {
		return nil, err
	}
	if h.length != length {
		r.Close()
		return nil, cellhold.Errorf(cellhold.Conflict, "The file has become shorter. Download it again.")
	}
	return r, nil
}

// head is what the guest says about the content that it sends.
type head struct {
	length   int64
	version  string // empty from an older agent
	modified time.Time
}

// content opens a part of a file, and checks the head.
func (c *Client) content(ctx context.Context, q url.Values) (io.ReadCloser, head, error) {
	r, resp, err := c.stream(ctx, request{method: http.MethodGet, path: files("/content"), query: q})
	if err != nil {
		return nil, head{}, err
	}
	h := head{length: resp.ContentLength, version: strings.Trim(resp.Header.Get("ETag"), `"`)}
	h.modified, _ = http.ParseTime(resp.Header.Get("Last-Modified")) // zero if it is missing or invalid
	if h.length < 0 || h.version != "" && !validVersion(h.version) {
		r.Close()
		return nil, head{}, invalidData("an invalid head of a file")
	}
	return r, h, nil
}

// Pack opens a directory or file as an archive: tar, tgz or zip. The caller must close it.
func (c *Client) Pack(ctx context.Context, p, format string) (io.ReadCloser, error) {
	r, _, err := c.stream(ctx, request{method: http.MethodGet, path: files("/archive"), query: url.Values{"path": {p}, "format": {format}}})
	return r, err
}

// stream sends a request with a long answer, and checks its progress. The caller must read and close the returned body,
// and not that of the answer.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, *http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(answerTimeout, func() { cancel(errSlow) })
	resp, err := c.do(ctx, r)
	if !late.Stop() && err == nil {
		resp.Body.Close()
		err = errSlow
	}
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	return &moving{ctx: ctx, cancel: cancel, body: resp.Body}, resp, nil
}

// moving is a body whose reads fail when no bytes arrive for stallTimeout.
type moving struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
}

// Read reads, and distinguishes the end of the body from a broken connection.
func (m *moving) Read(b []byte) (int, error) {
	timer := time.AfterFunc(stallTimeout, func() { m.cancel(errStalled) })
	n, err := m.body.Read(b)
	timer.Stop()
	if err == nil || err == io.EOF {
		return n, err
	}
	if m.ctx.Err() != nil {
		return n, context.Cause(m.ctx)
	}
	return n, cellhold.Wrap(cellhold.Unavailable, err, "The connection to the sandbox broke in the middle of the file.")
}

// Close releases the answer, complete or not.
func (m *moving) Close() error {
	m.cancel(nil)
	return m.body.Close()
}

// Upload is one file to write.
type Upload struct {
	Path  string
	Mode  uint32 // permission bits; 0 keeps the mode of an existing file, or means 0644
	Body  io.Reader
	Size  int64 // -1 if unknown
	Limit int64 // limit of the content in bytes
}

// Write writes a file. The new content appears completely or not at all.
func (c *Client) Write(ctx context.Context, u Upload) (cellhold.FileInfo, error) {
	q := url.Values{"path": {u.Path}, "limit": {strconv.FormatInt(u.Limit, 10)}}
	if u.Mode != 0 {
		q.Set("mode", strconv.FormatUint(uint64(u.Mode), 10))
	}
	var e guestapi.Entry
	if err := c.upload(ctx, request{method: http.MethodPut, path: files("/content"), query: q, body: u.Body, size: u.Size}, &e); err != nil {
		return cellhold.FileInfo{}, err
	}
	return checkEntry(e)
}

// Unpack puts the content of an archive into a directory: all of it or nothing.
func (c *Client) Unpack(ctx context.Context, u Upload) (entries int, bytes int64, err error) {
	q := url.Values{"path": {u.Path}, "limit": {strconv.FormatInt(u.Limit, 10)}}
	var done guestapi.Unpacked
	if err := c.upload(ctx, request{method: http.MethodPut, path: files("/archive"), query: q, body: u.Body, size: u.Size}, &done); err != nil {
		return 0, 0, err
	}
	if done.Entries < 0 || done.Bytes < 0 {
		return 0, 0, invalidData("an invalid count")
	}
	return done.Entries, done.Bytes, nil
}

// upload sends a long body and checks that the guest reads it.
func (c *Client) upload(ctx context.Context, r request, out any) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := &offered{Reader: r.body, timer: time.AfterFunc(stallTimeout, func() { cancel(errStalled) })}
	defer body.timer.Stop()
	r.once, r.expect = true, true
	if r.body = body; r.size == 0 {
		r.body = nil // an empty file must have no body
		body.timer.Reset(answerTimeout)
	}
	resp, err := c.do(ctx, r)
	if failed := body.failed(); failed != nil {
		if err == nil {
			resp.Body.Close()
		}
		return failed // the error of the sender caused the error of the guest
	}
	if err != nil {
		return err
	}
	return decodeFiles(resp, maxListing, out)
}

// offered is a body that the guest must read without long pauses. The timer does not run while the sender has no
// bytes.
type offered struct {
	io.Reader
	timer *time.Timer
	mu    sync.Mutex
	err   error
}

func (o *offered) Read(b []byte) (int, error) {
	o.timer.Stop()
	n, err := o.Reader.Read(b)
	if err == nil {
		o.timer.Reset(stallTimeout)
		return n, nil
	}
	o.timer.Reset(answerTimeout)
	if err != io.EOF {
		o.mu.Lock()
		o.err = err
		o.mu.Unlock()
	}
	return n, err
}

func (o *offered) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// MakeDir makes a directory and its missing parents. made reports whether the directory was missing.
func (c *Client) MakeDir(ctx context.Context, p string) (info cellhold.FileInfo, made bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errSlow)
	defer cancel()
	resp, err := c.do(ctx, request{method: http.MethodPost, path: files("/directory"), query: url.Values{"path": {p}}, once: true})
	if err != nil {
		return info, false, err
	}
	var e guestapi.Entry
	made = resp.StatusCode == http.StatusCreated
	if err := decodeFiles(resp, maxListing, &e); err != nil {
		return info, false, err
	}
	info, err = checkEntry(e)
	return info, made, err
}

// Move renames a path. To another file system it copies and removes.
func (c *Client) Move(ctx context.Context, from, to string, replace bool) (cellhold.FileInfo, error) {
	q := url.Values{"from": {from}, "to": {to}, "replace": {strconv.FormatBool(replace)}}
	return c.entry(ctx, request{method: http.MethodPost, path: files("/move"), query: q, once: true})
}

// Remove removes a file, or a directory, which must be empty unless recursive is set.
func (c *Client) Remove(ctx context.Context, p string, recursive bool) error {
	q := url.Values{"path": {p}, "recursive": {strconv.FormatBool(recursive)}}
	return c.ask(ctx, request{method: http.MethodDelete, path: files(""), query: q, once: true}, maxProblem, nil)
}

// WatchDir yields the changes in a directory until ctx ends. The first element is empty. It
// says that the watch has started.
func (c *Client) WatchDir(ctx context.Context, p string, recursive bool) iter.Seq2[cellhold.FileChange, error] {
	return func(yield func(cellhold.FileChange, error) bool) {
		q := url.Values{"path": {p}, "recursive": {strconv.FormatBool(recursive)}}
		r, _, err := c.stream(ctx, request{method: http.MethodGet, path: files("/watch"), query: q})
		if err != nil {
			yield(cellhold.FileChange{}, err)
			return
		}
		defer r.Close()
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, guestapi.MaxChange)
		for first := true; lines.Scan(); first = false {
			if len(lines.Bytes()) == 0 {
				if first && !yield(cellhold.FileChange{}, nil) {
					return
				}
				continue
			}
			change, err := checkChange(lines.Bytes())
			if !yield(change, err) || err != nil {
				return
			}
		}
		err = lines.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = invalidData("a line that is too long")
		}
		if err == nil {
			err = cellhold.Errorf(cellhold.Unavailable, "The sandbox ended the watch. Watch again, and list the directory, because changes may have been missed.")
		}
		yield(cellhold.FileChange{}, err)
	}
}

var changeTypes = map[string]cellhold.FileChangeType{
	"created": cellhold.FileCreated, "modified": cellhold.FileModified, "removed": cellhold.FileRemoved, "overflow": cellhold.FileOverflow,
}

func checkChange(line []byte) (cellhold.FileChange, error) {
	var l guestapi.Change
	if err := json.Unmarshal(line, &l); err != nil {
		return cellhold.FileChange{}, invalidData("a line of a watch")
	}
	c := cellhold.FileChange{Type: changeTypes[l.Type], Directory: l.Dir}
	switch c.Type {
	case "":
		return c, invalidData("an invalid change")
	case cellhold.FileOverflow:
		return cellhold.FileChange{Type: c.Type}, nil
	}
	p, err := checkGuestPath(l.Path)
	if err != nil {
		return cellhold.FileChange{}, err
	}
	c.Path, c.Escaped = shown(p)
	return c, nil
}

// checkCellFiles checks the files that a cell wrote, according to the agent. It leaves out invalid ones, and reports
// whether there were any.
func checkCellFiles(list []cellhold.CellFile) (valid []cellhold.CellFile, invalid bool) {
	for _, f := range list {
		escaped := f.Escaped
		if escaped == "" {
			escaped = cellhold.EscapePath(f.Path)
		}
		p, err := checkGuestPath(escaped)
		if err != nil || len(p) > guestapi.MaxFilePath || f.Size < 0 || len(valid) == guestapi.MaxCellFiles {
			invalid = true
			continue
		}
		f.Path, f.Escaped = shown(p)
		if f.Modified = f.Modified.UTC(); f.Modified.Year() < 1970 || f.Modified.Year() > 2200 {
			f.Modified = time.Unix(0, 0).UTC()
		}
		valid = append(valid, f)
	}
	return valid, invalid
}
