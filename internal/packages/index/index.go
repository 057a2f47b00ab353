// Package index answers the questions of an installer in a sandbox out of package indexes and
// folders that the operator chose.
//
// The installer sees pages that were made here, with numbers in place of links: it can fetch a page
// of a project and the files that such a page named in the same visit, and nothing else. Hosts,
// credentials, proxies and certificates stay on this side. Files are hashed on their way, and one
// that is not what its page promised breaks off.
//
// A project comes from one source: the first that has it, or those that it is pinned to. When a
// source fails, no other is asked in its place, or whoever can make a private index fail could slip
// in a public package of the same name.
//
// It refuses to know sessions and guests. There is one lock, Visit.mu, held for map operations.
package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/lazy"
)

const (
	// maxProjects bounds the pages of one visit; large installations look at 400. It also bounds
	// what names can carry out of a sandbox.
	maxProjects = 1000
	// maxHeld bounds the files that one visit remembers, of all pages: each takes half a kilobyte here.
	// Large installations see 100,000.
	maxHeld = 300_000
	// maxPage is the most bytes of a page; the longest one of the largest index has 30 MB.
	maxPage = 64 << 20
	// pageTime bounds the fetching of a page, and metadataTime that of a file's metadata.
	pageTime = time.Minute
	// maxMetadata is the most bytes of a file's metadata; long readmes make it 500 kB.
	maxMetadata = 16 << 20
)

// Source is one place that has packages: an index, by the URL of its simple API, or a folder.
type Source struct {
	URL    *url.URL // may carry user and password
	Folder string
	Only   func(project string) bool // projects that are pinned to it; nil means that none are, and it is asked for all others
}

// Options configures an Index.
type Options struct {
	Sources []Source          // asked in this order; required
	HTTP    http.RoundTripper // by Transport; required where a source has a URL
	Logger  *slog.Logger      // nil discards
}

// Index is the sources together.
type Index struct {
	o    Options
	http *http.Client
}

// New returns an index.
func New(o Options) (*Index, error) {
	if len(o.Sources) == 0 {
		return nil, errors.New("index: no sources")
	}
	for _, s := range o.Sources {
		if (s.URL == nil) == (s.Folder == "") {
			return nil, errors.New("index: a source is a URL or a folder")
		}
		if s.URL != nil && (o.HTTP == nil || s.URL.Scheme != "http" && s.URL.Scheme != "https" || s.URL.Host == "") {
			return nil, fmt.Errorf("index: %s is not the URL of an index", s.URL.Redacted())
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Index{o: o, http: &http.Client{Transport: o.HTTP, CheckRedirect: checkRedirect}}, nil
}

// Owned returns what reports whether the operator has a project of just that name: one that is pinned, or in a folder.
// It is for one request, because it reads each folder once, when it is first asked.
func (x *Index) Owned() func(project string) bool {
	inFolders := sync.OnceValue(func() map[string]bool {
		owned := map[string]bool{}
		for _, s := range x.o.Sources {
			if s.Folder != "" {
				projectsOf(s.Folder, owned)
			}
		}
		return owned
	})
	return func(project string) bool {
		for _, s := range x.o.Sources {
			if s.Only != nil && s.Only(project) {
				return true
			}
		}
		return inFolders()[project]
	}
}

// Rule says what one visit may see.
type Rule struct {
	Allowed func(project string) error // nil means everything
	Source  bool                       // source distributions too
	SHA256  []string                   // when not empty: only files of these hashes

	// Count is told what the visit takes from the sources: pages and files before it asks for them, bytes once they
	// are read. Its error is a refusal. It may be called from several goroutines at once. Nil counts nothing.
	Count func(n Taken) error

	// Begun is told each file that begins to be handed over; a size below zero is unknown. It may be called
	// from several goroutines at once, and more than once for a file. Nil tells nobody.
	Begun func(file string, size int64)
}

// Taken is what visits take from the sources. A page that is asked for again counts again, unless the visit has it.
type Taken struct {
	Pages int   // of projects
	Files int   // files, and what indexes say of a file's metadata
	Bytes int64 // of all
}

// File is a file that was handed over whole.
type File struct {
	Project, Version, Name, SHA256 string
}

// Visit is the questions of one installation. Its methods may be called from any goroutine.
type Visit struct {
	index *Index
	rule  Rule

	mu       sync.Mutex
	projects map[string]bool
	links    []link          // by number
	pages    map[string]span // of links, by project
	files    []File
	fault    error
	hidden   map[string]int // source distributions that were not shown, by project
}

// span is a part of a visit's links.
type span struct{ from, to int }

// Visit begins the questions of one installation.
func (x *Index) Visit(r Rule) *Visit {
	return &Visit{index: x, rule: r, projects: map[string]bool{}, pages: map[string]span{}, hidden: map[string]int{}}
}

// Files are the files that were handed over whole so far.
func (v *Visit) Files() []File {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]File(nil), v.files...)
}

// Fault is the first refusal that the visit met, or nil: what made the installation fail, most
// likely.
func (v *Visit) Fault() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fault != nil {
		return v.fault
	}
	for project, n := range v.hidden {
		return cellhold.Errorf(cellhold.Unsupported,
			"The package %q has no wheel that fits, only source (%d files), and this server's operator does not allow packages to be built (--package-source).", project, n)
	}
	return nil
}

// fail records a refusal. What failed because the visit is over is none.
func (v *Visit) fail(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fault == nil {
		v.fault = err
	}
}

// count counts what the visit takes, and notes a refusal.
func (v *Visit) count(n Taken) error {
	if v.rule.Count == nil {
		return nil
	}
	if err := v.rule.Count(n); err != nil {
		v.fail(err)
		return fmt.Errorf("%w: %w", errCount, err)
	}
	return nil
}

// errCount is the refusal of who counts.
var errCount = errors.New("the visit has taken too much")

// metered counts the bytes that are read of a source.
type metered struct {
	io.ReadCloser
	visit *Visit
}

// Read reads on, and fails once the visit has taken too much.
func (m metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if refusal := m.visit.count(Taken{Bytes: int64(n)}); refusal != nil {
		return 0, refusal
	}
	return n, err
}

// Answer is what to answer to one question. The caller closes the Body.
type Answer struct {
	Status int
	Type   string
	Size   int64 // below zero when unknown
	Body   io.ReadCloser
}

func plain(status int, text string) Answer {
	return Answer{status, "text/plain", int64(len(text)), io.NopCloser(strings.NewReader(text))}
}

// Patterns with large counts are compiled when they are used first: each sandbox starts four processes of this
// program, which have no use for them and would pay milliseconds each.
var (
	pagePath = lazy.Regexp(`^simple/([A-Za-z0-9][A-Za-z0-9._-]{0,127})/?$`)
	filePath = lazy.Regexp(`^file/([0-9]{1,9})/([^/]{1,300})$`)
	joints   = regexp.MustCompile(`[-_.]+`)
)

func normal(name string) string { return strings.ToLower(joints.ReplaceAllString(name, "-")) }

// Open answers one question. It always has an answer; the reason of a refusal is in Fault too.
func (v *Visit) Open(ctx context.Context, path string) Answer {
	if m := pagePath().FindStringSubmatch(path); m != nil {
		return v.page(ctx, normal(m[1]))
	}
	if m := filePath().FindStringSubmatch(path); m != nil {
		n, err := strconv.Atoi(m[1])
		name, metadata := strings.CutSuffix(m[2], ".metadata")
		v.mu.Lock()
		known := err == nil && n < len(v.links) && v.links[n].name == name
		var l link
		if known {
			l = v.links[n]
		}
		v.mu.Unlock()
		switch {
		case known && metadata:
			return v.metadata(ctx, l)
		case known:
			return v.file(ctx, l)
		}
	}
	return plain(http.StatusNotFound, "there is no such page")
}

// page makes the page of a project.
func (v *Visit) page(ctx context.Context, project string) Answer {
	if v.rule.Allowed != nil {
		if err := v.rule.Allowed(project); err != nil {
			v.fail(err)
			return plain(http.StatusForbidden, "not allowed")
		}
	}
	v.mu.Lock()
	v.projects[project] = true
	many := len(v.projects) > maxProjects
	held, seen := v.pages[project]
	v.mu.Unlock()
	if many {
		v.fail(cellhold.Errorf(cellhold.Exhausted, "The installation looked at more than %d packages and was stopped.", maxProjects))
		return plain(http.StatusForbidden, "too many packages")
	}
	if seen { // an installer asks again; a hostile one as often as it can
		return v.shown(project, held)
	}
	if v.count(Taken{Pages: 1}) != nil {
		return plain(http.StatusForbidden, "too many packages")
	}
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	links, err := v.find(ctx, project)
	if errors.Is(err, errCount) {
		return plain(http.StatusForbidden, "too many bytes")
	}
	if errors.Is(err, errMissing) {
		return plain(http.StatusNotFound, "there is no such package")
	}
	if err != nil {
		v.index.o.Logger.Warn("package index", "project", project, "err", err)
		v.fail(cellhold.Wrap(cellhold.Unavailable, err, "The package index could not be asked for %q: %s.", project, reason(err)))
		return plain(http.StatusBadGateway, "the index cannot be asked")
	}
	held, ok := v.keep(project, links)
	if !ok {
		v.fail(cellhold.Errorf(cellhold.Exhausted, "The installation looked at packages with more than %d files in all and was stopped.", maxHeld))
		return plain(http.StatusForbidden, "too many files")
	}
	return v.shown(project, held)
}

func (v *Visit) shown(project string, s span) Answer {
	text := v.render(project, s)
	return Answer{http.StatusOK, simpleJSON, int64(len(text)), io.NopCloser(bytes.NewReader(text))}
}

// visible reports whether a file may be shown, and counts what is not because it is source.
func (v *Visit) visible(l link) bool {
	if !strings.HasSuffix(l.name, ".whl") && !v.rule.Source {
		if isSource(l.name) {
			v.hidden[l.project]++
		}
		return false
	}
	if len(v.rule.SHA256) == 0 {
		return true
	}
	for _, h := range v.rule.SHA256 {
		if h == l.sha256 {
			return true
		}
	}
	// A page that names no hashes hides nothing: the file is hashed on its way.
	return l.sha256 == ""
}

func isSource(name string) bool {
	return strings.HasSuffix(name, ".tar.gz") || strings.HasSuffix(name, ".zip") || strings.HasSuffix(name, ".tar.bz2")
}

// reason is the short form of an error for callers, without addresses of the operator's network.
func reason(err error) string {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.Error()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.Is(err, errPage):
		return "its answer makes no sense"
	}
	return "it cannot be reached; the server's log says why"
}
