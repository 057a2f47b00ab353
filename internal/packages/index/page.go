package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"

	"golang.org/x/net/html"

	"cellhold/internal/lazy"
)

// simpleJSON is the type of the pages that this package creates (PEP 691). accepted is the Accept header of its requests.
const (
	simpleJSON = "application/vnd.pypi.simple.v1+json"
	accepted   = simpleJSON + ", application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
)

var errPage = errors.New("the page is invalid")

const (
	// maxLinks bounds the files of a project. The largest project has 30,000.
	maxLinks = 100_000
	// maxRef is the maximum length of a link, and maxNote that of its other texts. The visit keeps them until its end.
	maxRef  = 4 << 10
	maxNote = 1 << 10
)

// link is one file on a page.
type link struct {
	source   *Source
	project  string
	name     string
	url      *url.URL // nil for a file of a folder
	path     string   // in a folder
	sha256   string   // empty if unknown
	metadata string   // sha256 of its metadata; "?" if the hash is unknown; empty if there is no metadata
	python   string   // required versions of Python
	yanked   string   // why it was yanked; empty if it was not
	size     int64    // 0 if unknown
}

var (
	// fileName is the allowed form of a file name: it becomes part of a path and of our page.
	fileName  = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}$`)
	hexDigest = lazy.Regexp(`^[0-9a-f]{64}$`)
)

// parsePage reads a page of the simple API in JSON or HTML.
func parsePage(contentType string, body []byte, base *url.URL) ([]link, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("%w: content type %.80q", errPage, contentType)
	}
	switch kind {
	case simpleJSON, "application/json":
		return parseJSON(body, base)
	case "application/vnd.pypi.simple.v1+html", "text/html":
		return parseHTML(body, base)
	}
	return nil, fmt.Errorf("%w: content type %.80q", errPage, contentType)
}

// jsonFile is a file on a JSON page. Members that can have several types are raw.
type jsonFile struct {
	Filename string          `json:"filename"`
	URL      string          `json:"url"`
	Hashes   hashes          `json:"hashes"`
	Python   string          `json:"requires-python,omitempty"`
	Yanked   json.RawMessage `json:"yanked,omitempty"`
	Core     json.RawMessage `json:"core-metadata,omitempty"`
	Dist     json.RawMessage `json:"dist-info-metadata,omitempty"`
	Size     int64           `json:"size,omitempty"`
}

// hashes holds the needed hash of a file. A map would store everything that a page contains.
type hashes struct {
	SHA256 string `json:"sha256"`
}

// jsonFiles are the files of a page. They are decoded one by one to bound the memory: each takes 150 bytes, and may have
// only two bytes in the page.
type jsonFiles []jsonFile

// UnmarshalJSON reads the files, up to the limit.
func (l *jsonFiles) UnmarshalJSON(b []byte) error {
	if *l = nil; string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return fmt.Errorf("%w: its files are not a list", errPage)
	}
	for d.More() {
		if len(*l) >= maxLinks {
			return fmt.Errorf("%w: more than %d files", errPage, maxLinks)
		}
		var f jsonFile
		if err := d.Decode(&f); err != nil {
			return err
		}
		*l = append(*l, f)
	}
	return nil
}

func parseJSON(body []byte, base *url.URL) ([]link, error) {
	var page struct {
		Meta struct {
			Version string `json:"api-version"`
		} `json:"meta"`
		Files jsonFiles `json:"files"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("%w: %w", errPage, err)
	}
	if !strings.HasPrefix(page.Meta.Version, "1.") {
		return nil, fmt.Errorf("%w: version %.20q of the simple API", errPage, page.Meta.Version)
	}
	var links []link
	for _, f := range page.Files {
		l := link{name: f.Filename, sha256: f.Hashes.SHA256, python: f.Python, size: f.Size}
		if core := f.Core; core != nil || f.Dist != nil {
			if core == nil {
				core = f.Dist
			}
			l.metadata = metadataHash(core)
		}
		var why string
		if json.Unmarshal(f.Yanked, &why) == nil || string(f.Yanked) == "true" {
			l.yanked = "yanked"
			if why != "" {
				l.yanked = why
			}
		}
		if l.resolve(f.URL, base) {
			links = append(links, l)
		}
	}
	return links, nil
}

// metadataHash reads a member that is false, true, or hashes.
func metadataHash(raw json.RawMessage) string {
	var all *hashes
	if json.Unmarshal(raw, &all) == nil && all != nil {
		if hexDigest().MatchString(all.SHA256) {
			return all.SHA256
		}
		return "?"
	}
	if string(raw) == "true" {
		return "?"
	}
	return ""
}

// resolve completes the link. It returns false if the link must not be followed.
func (l *link) resolve(ref string, base *url.URL) bool {
	if len(ref) > maxRef || len(l.python) > maxNote || len(l.yanked) > maxNote {
		return false
	}
	u, err := base.Parse(ref)
	if err != nil || u.Scheme != "https" && u.Scheme != base.Scheme || u.Host == "" || !fileName().MatchString(l.name) {
		return false // a link from https to http is not followed
	}
	if u.Fragment != "" && l.sha256 == "" {
		l.sha256, _ = strings.CutPrefix(u.Fragment, "sha256=")
	}
	u.Fragment, u.User = "", nil
	if !hexDigest().MatchString(l.sha256) {
		l.sha256 = ""
	}
	l.url = u
	return true
}

// parseHTML reads the older form (PEP 503): links with attributes.
func parseHTML(body []byte, base *url.URL) ([]link, error) {
	var links []link
	z := html.NewTokenizer(bytes.NewReader(body))
	z.SetMaxBuf(1 << 20) // one tag or text
	var open *link
	var ref string
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%w: %w", errPage, err)
			}
			return links, nil
		case html.StartTagToken:
			t := z.Token()
			if href := attribute(t, "href"); t.Data == "base" && href != "" {
				if b, err := base.Parse(href); err == nil && b.Host == base.Host && b.Scheme == base.Scheme {
					base = b
				}
			} else if t.Data == "a" {
				open, ref = htmlLink(t), href
			}
		case html.TextToken:
			if open != nil && len(open.name) < maxNote { // names that are too long are refused later
				open.name += strings.TrimSpace(string(z.Text()))
			}
		case html.EndTagToken:
			if tag, _ := z.TagName(); string(tag) != "a" || open == nil {
				continue
			}
			if len(links) >= maxLinks {
				return nil, fmt.Errorf("%w: more than %d files", errPage, maxLinks)
			}
			if open.resolve(ref, base) {
				links = append(links, *open)
			}
			open = nil
		}
	}
}

func htmlLink(t html.Token) *link {
	l := &link{python: attribute(t, "data-requires-python")}
	for _, a := range t.Attr {
		switch a.Key {
		case "data-yanked":
			l.yanked = "yanked"
			if a.Val != "" {
				l.yanked = a.Val
			}
		case "data-core-metadata", "data-dist-info-metadata":
			l.metadata = "?"
			if h, ok := strings.CutPrefix(a.Val, "sha256="); ok && hexDigest().MatchString(h) {
				l.metadata = h
			} else if a.Val == "false" {
				l.metadata = ""
			}
		}
	}
	return l
}

func attribute(t html.Token, key string) string {
	for _, a := range t.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// keep stores the files of a project's page, and returns the range of the visible ones. It returns false if the visit holds
// too many files. If a concurrent request has stored the page already, that page stays.
func (v *Visit) keep(project string, links []link) (span, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if seen, ok := v.pages[project]; ok {
		return seen, true
	}
	s := span{from: len(v.links)}
	for _, l := range links {
		l.project = project
		if v.visible(l) {
			v.links = append(v.links, l)
		}
	}
	if s.to = len(v.links); s.to > maxHeld {
		clear(v.links[s.from:])
		v.links = v.links[:s.from]
		return s, false
	}
	if s.to > s.from {
		delete(v.hidden, project) // it has more than source distributions
	}
	v.pages[project] = s
	return s, true
}

// render returns the page for the installer. Links are numbers, relative to the page.
func (v *Visit) render(project string, s span) []byte {
	v.mu.Lock()
	links := v.links[s.from:s.to:s.to] // links in this range never change
	v.mu.Unlock()
	files := []map[string]any{}
	for i, l := range links {
		f := map[string]any{"filename": l.name, "url": fmt.Sprintf("../../file/%d/%s", s.from+i, url.PathEscape(l.name)), "hashes": map[string]string{}}
		if l.sha256 != "" {
			f["hashes"] = map[string]string{"sha256": l.sha256}
		}
		if l.python != "" {
			f["requires-python"] = l.python
		}
		if l.yanked != "" {
			f["yanked"] = l.yanked
		}
		if l.size > 0 {
			f["size"] = l.size
		}
		if l.metadata == "?" {
			f["core-metadata"] = true
		} else if l.metadata != "" {
			f["core-metadata"] = map[string]string{"sha256": l.metadata}
		}
		files = append(files, f)
	}
	text, err := json.Marshal(map[string]any{"meta": map[string]string{"api-version": "1.1"}, "name": project, "files": files})
	if err != nil {
		return nil // cannot happen with maps of strings
	}
	return text
}
