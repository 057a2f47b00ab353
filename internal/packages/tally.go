package packages

import (
	"crypto/sha256"
	"maps"
	"sync"

	"cellhold"
	"cellhold/internal/packages/index"
)

// Code is hostile, and each request that it causes carries some bits of a session's data to the index: in the name of a
// package, its version and extras, and in the order of the requests. These limits apply to one session. Honest notebooks do
// not reach them.
const (
	// maxCodeNames bounds the different requirements of code: names with their versions, extras and so on.
	maxCodeNames = 300
	// maxCodeAsked bounds its requirements in total, including repeated ones.
	maxCodeAsked = 2000
	// maxCodePages bounds the pages of projects that its installations fetch. Requests of the agent count, so an agent that
	// makes up requests is limited too. Large installations fetch 400.
	maxCodePages = 3000
	// maxCodeFiles bounds the files and metadata that its installations fetch.
	maxCodeFiles = 20_000
	// maxCodeBytes bounds the bytes of all these pages, files and metadata.
	maxCodeBytes = 16 << 30
)

// Tally counts the requests of the code of one session. Its methods can be called from any goroutine. The zero value is
// ready to use.
type Tally struct {
	mu    sync.Mutex
	names map[[sha256.Size]byte]bool // hashes of requirements, whose texts can be long
	asked int
	took  index.Taken
}

// Inherit copies the counts of a parent session into t. The caller must not use t before Inherit.
func (t *Tally) Inherit(parent *Tally) {
	parent.mu.Lock()
	names, asked, took := maps.Clone(parent.names), parent.asked, parent.took
	parent.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names, t.asked, t.took = names, asked, took
}

// remedy ends every refusal of a tally.
const remedy = "The session's caller can install more."

// add counts all requirements of a request, or none.
func (t *Tally) add(list []Requirement) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked+len(list) > maxCodeAsked {
		return cellhold.Errorf(cellhold.Exhausted,
			"The code of this session has requested %d packages, including repeated ones; the limit is %d. %s", t.asked, maxCodeAsked, remedy)
	}
	fresh := map[[sha256.Size]byte]bool{}
	for _, r := range list {
		if key := sha256.Sum256([]byte(r.String())); !t.names[key] {
			fresh[key] = true
		}
	}
	if len(t.names)+len(fresh) > maxCodeNames {
		return cellhold.Errorf(cellhold.Exhausted,
			"The code of this session has requested %d different packages, versions and extras; the limit is %d. %s", len(t.names), maxCodeNames, remedy)
	}
	if t.names == nil {
		t.names = map[[sha256.Size]byte]bool{}
	}
	maps.Copy(t.names, fresh)
	t.asked += len(list)
	return nil
}

// take counts what an installation of code takes from the indexes, or refuses it. Bytes are counted after the read, so they
// always count; after the limit no more is taken.
func (t *Tally) take(n index.Taken) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took.Bytes += n.Bytes
	pages, files := t.took.Pages+n.Pages, t.took.Files+n.Files
	switch {
	case t.took.Bytes > maxCodeBytes:
		return cellhold.Errorf(cellhold.Exhausted,
			"Installations by the code of this session have fetched %d MiB; the limit is %d MiB. %s", t.took.Bytes>>20, maxCodeBytes>>20, remedy)
	case pages > maxCodePages:
		return cellhold.Errorf(cellhold.Exhausted,
			"Installations by the code of this session have requested %d packages; the limit is %d. %s", t.took.Pages, maxCodePages, remedy)
	case files > maxCodeFiles:
		return cellhold.Errorf(cellhold.Exhausted,
			"Installations by the code of this session have fetched %d files; the limit is %d. %s", t.took.Files, maxCodeFiles, remedy)
	}
	t.took.Pages, t.took.Files = pages, files
	return nil
}
