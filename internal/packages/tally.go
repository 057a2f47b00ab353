package packages

import (
	"crypto/sha256"
	"maps"
	"sync"

	"cellhold"
	"cellhold/internal/packages/index"
)

// Code is hostile, and each question that it causes carries some bits of a session's data to the index: by the name
// of a package, by its version and extras, and by the order of the questions. These bounds hold for one session.
// No honest notebook reaches them.
const (
	// maxCodeNames bounds the different requirements of code: names with their versions, extras and the like.
	maxCodeNames = 300
	// maxCodeAsked bounds its requirements in total, those that it repeats included.
	maxCodeAsked = 2000
	// maxCodePages bounds the pages of projects that its installations fetch. What the agent asks for counts,
	// so an agent that makes up questions is bounded too. Large installations fetch 400.
	maxCodePages = 3000
	// maxCodeFiles bounds the files, and the descriptions of files, that its installations fetch.
	maxCodeFiles = 20_000
	// maxCodeBytes bounds the bytes of all that.
	maxCodeBytes = 16 << 30
)

// Tally counts what the code of one session has asked for. Its methods may be called from any goroutine. The zero
// value has counted nothing.
type Tally struct {
	mu    sync.Mutex
	names map[[sha256.Size]byte]bool // of requirements, whose texts may be long
	asked int
	took  index.Taken
}

// Inherit makes a tally go on from that of a parent, as it is now. It is for a tally that nobody uses yet.
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

// add counts the requirements of a request, all or none.
func (t *Tally) add(list []Requirement) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked+len(list) > maxCodeAsked {
		return cellhold.Errorf(cellhold.Exhausted,
			"The code of this session has made %d requirements, repeated ones included, and may make %d in all. %s", t.asked, maxCodeAsked, remedy)
	}
	fresh := map[[sha256.Size]byte]bool{}
	for _, r := range list {
		if key := sha256.Sum256([]byte(r.String())); !t.names[key] {
			fresh[key] = true
		}
	}
	if len(t.names)+len(fresh) > maxCodeNames {
		return cellhold.Errorf(cellhold.Exhausted,
			"The code of this session has asked for %d different packages, versions and extras, and may ask for %d in all. %s", len(t.names), maxCodeNames, remedy)
	}
	if t.names == nil {
		t.names = map[[sha256.Size]byte]bool{}
	}
	maps.Copy(t.names, fresh)
	t.asked += len(list)
	return nil
}

// take counts what an installation of code takes from the indexes, or says why it may not. Bytes have been read
// when they are counted, so they count in any case, and nothing more is taken once they are too many.
func (t *Tally) take(n index.Taken) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took.Bytes += n.Bytes
	pages, files := t.took.Pages+n.Pages, t.took.Files+n.Files
	switch {
	case t.took.Bytes > maxCodeBytes:
		return cellhold.Errorf(cellhold.Exhausted,
			"Installations by the code of this session have fetched %d MiB, and may fetch %d MiB in all. %s", t.took.Bytes>>20, maxCodeBytes>>20, remedy)
	case pages > maxCodePages:
		return cellhold.Errorf(cellhold.Exhausted,
			"Installations by the code of this session have looked at %d packages, and may look at %d in all. %s", t.took.Pages, maxCodePages, remedy)
	case files > maxCodeFiles:
		return cellhold.Errorf(cellhold.Exhausted,
			"Installations by the code of this session have fetched %d files, and may fetch %d in all. %s", t.took.Files, maxCodeFiles, remedy)
	}
	t.took.Pages, t.took.Files = pages, files
	return nil
}
