package wire

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Bounds of the memory of the messages that wait for clients. The first ownBytes of a connected client do not count in
// these bounds, because the number of connections limits them. So no client can keep another client from its messages.
const (
	ownBytes     = 256 << 10
	sessionBytes = 64 << 20  // of one session
	ownerBytes   = 128 << 20 // of all sessions of one owner
	budgetBytes  = 256 << 20 // of all sessions
)

// pool counts the bytes of messages that wait, for all sessions. Its lock is taken after kernel.mu.
type pool struct {
	mu     sync.Mutex
	total  int64
	owners map[string]int64
	away   map[*client]time.Time // clients that left, and when
}

var shared = &pool{owners: map[string]int64{}, away: map[*client]time.Time{}}

// count adds more bytes for a client. If this would exceed a bound, count adds no bytes. It then returns the clients
// that the caller can drop to free memory, best first. A client that left can take only the memory of clients that left
// before it.
func (p *pool) count(c *client, more int64) (ok bool, others []*client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := c.k.hub
	var shares func(o *client) bool
	switch {
	case more <= 0:
	case h.held+more > sessionBytes:
		shares = func(o *client) bool { return o.k.hub == h }
	case p.owners[h.owner]+more > ownerBytes:
		shares = func(o *client) bool { return o.k.hub.owner == h.owner }
	case p.total+more > budgetBytes:
		shares = func(*client) bool { return true }
	}
	if shares != nil {
		return false, p.before(c, shares)
	}
	p.total += more
	h.held += more
	c.counted += more
	if p.owners[h.owner] += more; p.owners[h.owner] == 0 {
		delete(p.owners, h.owner)
	}
	return true, nil
}

// before returns the other clients that left. Clients of the owner with the most bytes come first. Clients of one owner
// are in the order in which they left. The caller must hold mu.
func (p *pool) before(c *client, shares func(o *client) bool) (list []*client) {
	left, isAway := p.away[c]
	for o, since := range p.away {
		if o != c && o.counted > 0 && (!isAway || since.Before(left)) && shares(o) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *client) int {
		return cmp.Or(cmp.Compare(p.owners[b.k.hub.owner], p.owners[a.k.hub.owner]), p.away[a].Compare(p.away[b]))
	})
	return list
}

// leave notes that a client left. back notes that the client is connected again, or forgotten.
func (p *pool) leave(c *client, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away[c] = at
}

func (p *pool) back(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.away, c)
}

// room counts size more bytes of a client. It returns false if there is no space. An urgent message can use the
// reserve, which does not count in the bounds. The caller must hold kernel.mu.
func (c *client) room(size int64, urgent bool) bool {
	all := c.bytes + c.held + size
	if c.grow(all - c.own()) {
		return true
	}
	return urgent && c.wire != nil && all-c.own()-reserveBytes <= c.counted
}

// own returns the bytes of the client that do not count in the bounds.
func (c *client) own() int64 {
	if c.wire == nil {
		return 0
	}
	return ownBytes
}

// grow increases the counted bytes of the client to the given number. If necessary, it drops clients that left. The
// caller must hold kernel.mu.
func (c *client) grow(to int64) bool {
	for {
		ok, others := shared.count(c, max(to-c.counted, 0))
		if ok {
			return true
		}
		if !slices.ContainsFunc(others, c.k.expel) {
			return false
		}
	}
}

// shrink stops counting the bytes that the client no longer uses. The caller must hold kernel.mu.
func (c *client) shrink() {
	shared.count(c, min(max(c.bytes+c.held-c.own(), 0)-c.counted, 0))
}

// expel drops a client that left, and reports whether it did. It does not wait for the lock of another kernel, because
// two kernels could wait for each other. The caller must hold mu.
func (k *kernel) expel(o *client) bool {
	if o.k != k {
		if !o.k.mu.TryLock() {
			return false
		}
		defer o.k.mu.Unlock()
	}
	if o.wire != nil || o.k.clients[o.name] != o {
		return false
	}
	o.k.drop(o)
	return true
}
