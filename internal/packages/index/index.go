// Package index answers the requests of an installer in a sandbox from package indexes and folders that the operator chose.
//
// The installer sees pages that this package creates, with numbers instead of links. It can fetch the pages of
// projects. It can also fetch the files on the pages that the same installation fetched, and the metadata of these
// files. It can fetch no other URL. Hosts, credentials, proxies and certificates stay on the server. Files are hashed
// while they are read, and a file with a wrong hash is never delivered completely.
//
// A project comes from the first source that has it. If the project is pinned, only the sources to which it is pinned are
// asked. If a source fails, no other source is asked instead. Otherwise, an attacker who makes a private index fail could
// replace a package by a public one of the same name.
//
// The package knows no sessions and no guests. Visit.mu is held only while maps and slices are read or changed.
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
	// maxProjects bounds the pages of one visit. Large installations fetch 400. It also bounds the data that names can carry
	// out of a sandbox.
	maxProjects = 1000
	// maxHeld bounds the files that one visit remembers, of all pages. Each takes half a kilobyte. Large installations see
	// 100,000.
	maxHeld = 300_000
	// maxPage is the maximum size of a page. The largest page of the largest index has 30 MB.
	maxPage = 64 << 20
	// pageTime bounds the time for fetching a page or metadata.
	pageTime = time.Minute
	// maxMetadata is the maximum size of metadata. Long readmes make it 500 kB.
	maxMetadata = 16 << 20
)

// Source is an index, given by the URL of its simple API, or a folder.
type Source struct {
	URL    *url.URL // can contain user and password
	Folder string
	Only   func(project string) bool // projects that are pinned to the source; nil: the source serves all projects that are not pinned
}

// Options configures an Index.
type Options struct {
	Sources []Source          // in the order of the search; required
	HTTP    http.RoundTripper // from Transport; required if a source has a URL
	Logger  *slog.Logger      // nil: no log
}

// Index combines the sources.
type Index struct {
	o    Options
	http *http.Client
}

// New returns an index.
func New(o Options) (*Index, error) {
	if len(o.Sources) == 0 {
		return nil, errors.New("index: there are no sources")
	}
	for _, s := range o.Sources {
		if (s.URL == nil) == (s.Folder == "") {
			return nil, errors.New("index: a source needs either a URL or a folder")
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

// Owned returns a function that reports whether the operator has a project of this name: a pinned one, or one in a folder.
// The function is for one request: it reads each folder once, on the first call.
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

// Rule defines what one visit can see.
type Rule struct {
	Allowed func(project string) error // nil allows every project
	Source  bool                       // also source distributions
	SHA256  []string                   // if not empty: only files with these hashes

	// Count is called for everything that the visit takes from the sources: before the request of a page or file, and after
	// the read of bytes. Its error refuses the request. It can be called by several goroutines at once. Nil counts nothing.
	Count func(n Taken) error

	// Begun is called when the transfer of a file begins. A size below 0 means unknown. It can be called by several
	// goroutines at once, and more than once for a file. It can be nil.
	Begun func(file string, size int64)
}

// Taken is the amount that visits take from the sources. A second request of a page counts only if the first one
// failed or is not answered yet.
type Taken struct {
	Pages int   // pages of projects
	Files int   // files and metadata of files
	Bytes int64 // bytes of pages, files and metadata
}

// File is a file that was transferred completely.
type File struct {
	Project, Version, Name, SHA256 string
}

// Visit handles the requests of one installation. Its methods can be called from any goroutine.
type Visit struct {
	index *Index
	rule  Rule

	mu       sync.Mutex
	projects map[string]bool
	links    []link          // by number
	pages    map[string]span // of links, by project
	files    []File
	fault    error
	hidden   map[string]int // number of hidden source distributions, by project
}

// span is a range of a visit's links.
type span struct{ from, to int }

// Visit starts the requests of one installation.
func (x *Index) Visit(r Rule) *Visit {
	return &Visit{index: x, rule: r, projects: map[string]bool{}, pages: map[string]span{}, hidden: map[string]int{}}
}

// Files returns the files that were transferred completely so far.
func (v *Visit) Files() []File {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]File(nil), v.files...)
}

// Fault returns the first refusal of the visit, or nil. It is the most likely cause of a failed installation.
func (v *Visit) Fault() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fault != nil {
		return v.fault
	}
	for project, n := range v.hidden {
		return cellhold.Errorf(cellhold.Unsupported,
			"The package %q has no matching wheel, only source (%d files), and this server does not allow building packages (--package-source).", project, n)
	}
	return nil
}

// fail records a refusal. It ignores failures caused by the end of the visit.
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

// count counts what the visit takes, and records a refusal.
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

// errCount says that Rule.Count refused.
var errCount = errors.New("the visit has taken too much")

// metered counts the bytes that are read from a source.
type metered struct {
	io.ReadCloser
	visit *Visit
}

// Read reads from the source, and fails once the visit has taken too much.
func (m metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if refusal := m.visit.count(Taken{Bytes: int64(n)}); refusal != nil {
		return 0, refusal
	}
	return n, err
}

// Answer is the answer to one request. The caller must close the Body.
type Answer struct {
	Status int
	Type   string
	Size   int64 // below 0: unknown
	Body   io.ReadCloser
}

func plain(status int, text string) Answer {
	return Answer{status, "text/plain", int64(len(text)), io.NopCloser(strings.NewReader(text))}
}

// Patterns with large counts are compiled on first use. Each compilation takes milliseconds, and most commands of
// the program do not need them.
var (
	pagePath = lazy.Regexp(`^simple/([A-Za-z0-9][A-Za-z0-9._-]{0,127})/?$`)
	filePath = lazy.Regexp(`^file/([0-9]{1,9})/([^/]{1,300})$`)
	joints   = regexp.MustCompile(`[-_.]+`)
)

func normal(name string) string { return strings.ToLower(joints.ReplaceAllString(name, "-")) }

// Open answers one request. It always returns an answer. Fault has the reason of a refusal.
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

// page returns the page of a project.
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
		v.fail(cellhold.Errorf(cellhold.Exhausted, "The installation was stopped: it requested more than %d packages.", maxProjects))
		return plain(http.StatusForbidden, "too many packages")
	}
	if seen { // installers repeat requests, and a hostile one does so as often as it can
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
		return plain(http.StatusNotFound, "no such package")
	}
	if err != nil {
		v.index.o.Logger.Warn("package index", "project", project, "err", err)
		v.fail(cellhold.Wrap(cellhold.Unavailable, err, "The package index could not be queried for %q: %s.", project, reason(err)))
		return plain(http.StatusBadGateway, "the index cannot be queried")
	}
	held, ok := v.keep(project, links)
	if !ok {
		v.fail(cellhold.Errorf(cellhold.Exhausted, "The installation was stopped: its packages have more than %d files in total.", maxHeld))
		return plain(http.StatusForbidden, "too many files")
	}
	return v.shown(project, held)
}

func (v *Visit) shown(project string, s span) Answer {
	text := v.render(project, s)
	return Answer{http.StatusOK, simpleJSON, int64(len(text)), io.NopCloser(bytes.NewReader(text))}
}

// visible reports whether a file can be shown, and counts hidden source distributions.
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
	// A file without a hash on the page stays visible: it is hashed while it is read.
	return l.sha256 == ""
}

func isSource(name string) bool {
	return strings.HasSuffix(name, ".tar.gz") || strings.HasSuffix(name, ".zip") || strings.HasSuffix(name, ".tar.bz2")
}

// reason returns a short form of an error for callers, without addresses of the operator's network.
func reason(err error) string {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.Error()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.Is(err, errPage):
		return "its answer is invalid"
	}
	return "it cannot be reached; the server's log says why"
}
