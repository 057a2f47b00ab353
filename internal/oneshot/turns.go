package oneshot

import (
	"context"
	"slices"
	"sync"
)

// turns gives a number of places to owners. A free place goes to the waiting owner with the fewest places. So an owner
// with many runs cannot keep other owners waiting. The runs of one owner get places in the order of their calls.
type turns struct {
	mu      sync.Mutex
	free    int
	held    map[string]int // places of each owner
	waiting []*turn        // in the order of their calls
}

// turn is a call of take that waits.
type turn struct {
	owner string
	ready chan struct{} // closed when the call has a place
}

func newTurns(places int) *turns { return &turns{free: places, held: map[string]int{}} }

// take waits for a place. The caller must call release.
func (t *turns) take(ctx context.Context, owner string) (release func(), err error) {
	w := &turn{owner, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.serve()
	t.mu.Unlock()
	select {
	case <-w.ready:
		return func() { t.release(owner) }, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, w)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // the call has a place already
		t.release(owner)
	}
	return nil, context.Cause(ctx)
}

func (t *turns) release(owner string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free++
	if t.held[owner]--; t.held[owner] == 0 {
		delete(t.held, owner)
	}
	t.serve()
}

// serve gives the free places. The caller must hold mu.
func (t *turns) serve() {
	for ; t.free > 0 && len(t.waiting) > 0; t.free-- {
		next := 0
		for i, w := range t.waiting {
			if t.held[w.owner] < t.held[t.waiting[next].owner] {
				next = i
			}
		}
		w := t.waiting[next]
		t.waiting = slices.Delete(t.waiting, next, next+1)
		t.held[w.owner]++
		close(w.ready)
	}
}
