package oneshot

import (
	"context"
	"encoding/base64"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/outputs"
)

// Limits of changed files.
const (
	maxListed      = 100     // files in a result
	maxEntries     = 2000    // entries that are looked at
	maxDepth       = 8       // directories below the roots
	maxContent     = 1 << 20 // bytes of one file in a result
	maxContents    = 4 << 20 // bytes of all files in a result
	listingEntries = 500     // entries in one page of a directory
)

// roots are the directories whose changed files are in a result.
var roots = []string{".", guestapi.OutputDir}

// caches are directories that programs fill by themselves.
var caches = []string{"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".cache", ".git", "node_modules"}

// versions has the versions of files by their paths.
type versions map[string]string

// present returns the files before the code runs. It returns nil for a run with tests, whose result has no files.
func (j *job) present(ctx context.Context) (versions, error) {
	if len(j.plan.request.Tests) > 0 {
		return nil, nil
	}
	before := versions{}
	_, err := j.walk(ctx, func(f cellhold.FileInfo) bool {
		before[f.Exact()] = f.Version
		return true
	})
	return before, err
}

// changedFiles adds the files that the code created or changed to the result. It ignores errors, because the sandbox
// can have ended, and a result without files is still useful.
func (j *job) changedFiles(ctx context.Context, before versions) {
	var list []cellhold.FileInfo
	more, err := j.walk(ctx, func(f cellhold.FileInfo) bool {
		if before[f.Exact()] == f.Version {
			return true
		}
		list = append(list, f)
		return len(list) <= maxListed
	})
	if j.result.MoreFiles = more || err != nil && len(list) > 0; len(list) > maxListed {
		list, j.result.MoreFiles = list[:maxListed], true
	}
	slices.SortFunc(list, func(a, b cellhold.FileInfo) int { return strings.Compare(a.Exact(), b.Exact()) })
	room := int64(maxContents)
	for _, f := range list {
		c := cellhold.RunChangedFile{Path: f.Path, Escaped: f.Escaped, Size: f.Size, Modified: f.Modified, Omitted: true}
		if f.Size <= min(maxContent, room) && j.content(ctx, f, &c) {
			room -= f.Size
		}
		j.result.Files = append(j.result.Files, c)
	}
}

// content reads a file into c.
func (j *job) content(ctx context.Context, f cellhold.FileInfo, c *cellhold.RunChangedFile) bool {
	r, err := j.attachment.ReadFile(ctx, f.Exact(), f.Version, 0, f.Size)
	if err != nil {
		return false
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, f.Size+1))
	if err != nil || int64(len(b)) != f.Size {
		return false
	}
	c.Omitted = false
	if utf8.Valid(b) && outputs.TextSize(b) <= 2*len(b) { // control characters take six bytes of JSON each
		c.Content = string(b)
	} else {
		c.Content, c.Encoding = base64.StdEncoding.EncodeToString(b), "base64"
	}
	return true
}

// place is a directory to list.
type place struct {
	path  string
	depth int
}

// walk visits the regular files below the roots until visit returns false. more reports that walk did not visit all
// files. A missing directory has no files.
func (j *job) walk(ctx context.Context, visit func(cellhold.FileInfo) bool) (more bool, err error) {
	var todo []place
	for _, root := range roots {
		todo = append(todo, place{path: root})
	}
	for seen := 0; len(todo) > 0; todo = todo[1:] {
		at, after := todo[0], ""
		for {
			list, rest, err := j.attachment.ListDir(ctx, at.path, after, listingEntries)
			if err != nil && cellhold.KindOf(err) != cellhold.NotFound {
				return more, err
			}
			for _, f := range list {
				name := path.Base(f.Exact())
				if seen++; seen > maxEntries {
					return true, nil
				}
				switch {
				case f.Type == cellhold.FileDirectory && slices.Contains(caches, name):
				case f.Type == cellhold.FileDirectory && at.depth == maxDepth:
					more = true
				case f.Type == cellhold.FileDirectory:
					todo = append(todo, place{f.Exact(), at.depth + 1})
				case f.Type == cellhold.FileRegular && !visit(f):
					return true, nil
				}
				after = name
			}
			if !rest || len(list) == 0 {
				break
			}
		}
	}
	return more, nil
}
