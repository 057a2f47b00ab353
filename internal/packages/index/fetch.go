package index

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"cellhold"
)

var errMissing = errors.New("no source has the project")

// statusError is an error status of an index.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("it answered with status %d", e.status) }

// find returns the files of a project from the first source that has it.
func (v *Visit) find(ctx context.Context, project string) ([]link, error) {
	pinned := false
	for i := range v.index.o.Sources {
		s := &v.index.o.Sources[i]
		if s.Only == nil || !s.Only(project) {
			continue
		}
		pinned = true
		if links, err := v.ask(ctx, s, project); !errors.Is(err, errMissing) {
			return links, err
		}
	}
	if pinned {
		return nil, errMissing // other sources must not provide a pinned name
	}
	for i := range v.index.o.Sources {
		s := &v.index.o.Sources[i]
		if s.Only != nil {
			continue
		}
		if links, err := v.ask(ctx, s, project); !errors.Is(err, errMissing) {
			return links, err
		}
	}
	return nil, errMissing
}

// ask asks one source.
func (v *Visit) ask(ctx context.Context, s *Source, project string) (links []link, err error) {
	if s.Folder != "" {
		links, err = listFolder(s.Folder, project)
	} else {
		links, err = v.fetchPage(ctx, s, project)
	}
	for i := range links {
		links[i].source = s
	}
	return links, err
}

func (v *Visit) fetchPage(ctx context.Context, s *Source, project string) ([]link, error) {
	u := s.URL.JoinPath(project, "/")
	resp, err := v.index.get(ctx, s, u, accepted)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readAll(metered{resp.Body, v}, maxPage)
	if err != nil {
		return nil, err
	}
	return parsePage(resp.Header.Get("Content-Type"), body, resp.Request.URL)
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", errPage, limit)
	}
	return body, err
}

// get sends one request. It sends the credentials of a source only to the source's own host. It retries once if the
// connection breaks before an answer.
func (x *Index) get(ctx context.Context, s *Source, u *url.URL, accept string) (*http.Response, error) {
	target := *u
	target.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "cellhold")
	// "identity", because hashes and sizes apply to the uncompressed files.
	req.Header.Set("Accept-Encoding", "identity")
	if s.URL.User != nil && u.Host == s.URL.Host && u.Scheme == s.URL.Scheme {
		password, _ := s.URL.User.Password()
		req.SetBasicAuth(s.URL.User.Username(), password)
	}
	resp, err := x.http.Do(req)
	if err != nil && ctx.Err() == nil {
		resp, err = x.http.Do(req)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone {
		return nil, errMissing
	}
	return nil, &statusError{resp.StatusCode}
}

// listFolder lists the files of a project in a folder.
func listFolder(dir, project string) ([]link, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of packages: %w", err)
	}
	var links []link
	for _, e := range entries {
		name := e.Name()
		if p, _ := split(name); p != project || !fileName().MatchString(name) || len(links) >= maxLinks {
			continue
		}
		links = append(links, link{name: name, path: name})
	}
	if links == nil {
		return nil, errMissing
	}
	return links, nil
}

// projectsOf adds the projects that have a file in a folder. It ignores a folder that cannot be read.
func projectsOf(dir string, projects map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if p, _ := split(e.Name()); p != "" && fileName().MatchString(e.Name()) {
			projects[p] = true
		}
	}
}

// split returns the project and the version in a file's name, or empty strings. Names of source distributions can be
// ambiguous; the last dash separates the version.
func split(file string) (project, version string) {
	if base, ok := strings.CutSuffix(file, ".whl"); ok {
		if parts := strings.Split(base, "-"); len(parts) >= 5 {
			return normal(parts[0]), strings.ReplaceAll(parts[1], "_", "-")
		}
		return "", ""
	}
	for _, end := range []string{".tar.gz", ".zip", ".tar.bz2"} {
		if base, ok := strings.CutSuffix(file, end); ok {
			if i := strings.LastIndexByte(base, '-'); i > 0 {
				return normal(base[:i]), base[i+1:]
			}
		}
	}
	return "", ""
}

// open opens the file of a link.
func (x *Index) open(ctx context.Context, l link) (io.ReadCloser, int64, error) {
	if l.url == nil {
		return openInFolder(l.source.Folder, l.path)
	}
	resp, err := x.get(ctx, l.source, l.url, "*/*")
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// openInFolder opens a regular file in a folder. Symbolic links cannot lead out of the folder.
func openInFolder(dir, name string) (io.ReadCloser, int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, 0, errors.Join(err, fs.ErrInvalid)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// file returns the content of a file, and hashes it while it is read.
func (v *Visit) file(ctx context.Context, l link) Answer {
	if v.count(Taken{Files: 1}) != nil {
		return plain(http.StatusForbidden, "too many files")
	}
	body, size, err := v.index.open(ctx, l)
	if err != nil {
		v.index.o.Logger.Warn("file of a package", "file", l.name, "err", err)
		v.fail(cellhold.Wrap(cellhold.Unavailable, err, "The file %s could not be fetched: %s.", l.name, reason(err)))
		return plain(http.StatusBadGateway, "the file cannot be fetched")
	}
	if v.rule.Begun != nil {
		v.rule.Begun(l.name, size)
	}
	return Answer{http.StatusOK, "application/octet-stream", size, newHashed(metered{body, v}, v, l)}
}

// hashed is a file that is being read.
type hashed struct {
	source io.ReadCloser
	ahead  *bufio.Reader // of source
	visit  *Visit
	link   link
	hash   hash.Hash
	ended  error // the result of all further reads, or nil
}

var errWrongFile = errors.New("the file has a wrong hash")

// newHashed returns a reader of a file. It closes the source.
func newHashed(source io.ReadCloser, v *Visit, l link) *hashed {
	return &hashed{source: source, ahead: bufio.NewReaderSize(source, 32<<10), visit: v, link: l, hash: sha256.New()}
}

// Read reads the file. It passes on the last bytes only if the hash is right, so a wrong file never arrives completely.
// For this, it waits until it knows whether more bytes follow: HTTP/2 and files report their end after the last byte.
func (h *hashed) Read(p []byte) (int, error) {
	if h.ended != nil {
		return 0, h.ended
	}
	n, err := h.ahead.Read(p)
	h.hash.Write(p[:n])
	if err == nil {
		_, err = h.ahead.Peek(1)
	}
	if err == nil {
		return n, nil
	}
	if h.ended = err; errors.Is(err, io.EOF) {
		h.ended = h.finish()
	}
	if errors.Is(h.ended, errWrongFile) {
		return 0, h.ended
	}
	return n, h.ended
}

// Close closes the source.
func (h *hashed) Close() error { return h.source.Close() }

// finish checks the hash of the whole file. It returns io.EOF if the hash is right.
func (h *hashed) finish() error {
	sum := hex.EncodeToString(h.hash.Sum(nil))
	if !h.visit.right(h.link, sum) {
		h.visit.fail(cellhold.Errorf(cellhold.Denied, "The file %s was not installed: its hash (sha256 %s) differs from the expected one.", h.link.name, sum))
		return errWrongFile
	}
	_, version := split(h.link.name)
	h.visit.mu.Lock()
	defer h.visit.mu.Unlock()
	h.visit.files = append(h.visit.files, File{h.link.project, version, h.link.name, sum})
	return io.EOF
}

// right reports whether the hash of a file matches its page and the request.
func (v *Visit) right(l link, sum string) bool {
	if l.sha256 != "" && l.sha256 != sum {
		return false
	}
	for _, h := range v.rule.SHA256 {
		if h == sum {
			return true
		}
	}
	return len(v.rule.SHA256) == 0
}

// metadata returns the metadata file of a link, if its page offers one (PEP 658).
func (v *Visit) metadata(ctx context.Context, l link) Answer {
	if l.metadata == "" || l.url == nil {
		return plain(http.StatusNotFound, "no metadata")
	}
	if v.count(Taken{Files: 1}) != nil {
		return plain(http.StatusForbidden, "too many files")
	}
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	u := *l.url
	u.Path += ".metadata"
	if u.RawPath != "" {
		u.RawPath += ".metadata"
	}
	resp, err := v.index.get(ctx, l.source, &u, "*/*")
	if err != nil {
		// The installer then takes the metadata from the file.
		return plain(http.StatusNotFound, "the metadata cannot be fetched")
	}
	defer resp.Body.Close()
	text, err := readAll(metered{resp.Body, v}, maxMetadata)
	sum := sha256.Sum256(text)
	if err != nil || l.metadata != "?" && l.metadata != hex.EncodeToString(sum[:]) {
		return plain(http.StatusNotFound, "the metadata has a wrong hash")
	}
	return Answer{http.StatusOK, "application/octet-stream", int64(len(text)), io.NopCloser(strings.NewReader(string(text)))}
}
