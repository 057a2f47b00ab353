// Package docs checks the documents: that links lead somewhere, and that the page about the HTTP API is
// current. It has tests only; test/e2e runs the examples.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
)

// anchorOf returns the anchor that GitHub gives to a heading.
func anchorOf(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// pages returns the Markdown files of the repository.
func pages(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == ".git" || e.Name() == "build" || e.Name() == "testdata" || e.Name() == "results") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			all = append(all, path)
		}
		return nil
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d pages, %v", len(all), err)
	}
	return all
}

func TestLinksLeadToPagesAndHeadings(t *testing.T) {
	anchors := map[string]map[string]bool{}
	texts := map[string]string{}
	for _, path := range pages(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = fenced.ReplaceAllString(string(text), "")
		anchors[path] = map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(texts[path], -1) {
			anchors[path][anchorOf(m[1])] = true
		}
	}
	for path, text := range texts {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, "CODE"), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", strings.TrimPrefix(path, root+"/"), m[1])
			} else if anchor != "" && anchors[to] != nil && !anchors[to][anchor] {
				t.Errorf("%s: %s has no heading #%s", strings.TrimPrefix(path, root+"/"), target, anchor)
			}
		}
	}
}

func TestEachPageOfTheDocumentsIsLinked(t *testing.T) {
	linked := map[string]bool{}
	all := pages(t)
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			linked[filepath.Join(filepath.Dir(path), target)] = true
		}
	}
	for _, path := range all {
		if strings.HasPrefix(path, root+"/docs/") && !linked[path] {
			t.Errorf("no page has a link to %s", strings.TrimPrefix(path, root+"/"))
		}
	}
}
