package warm

import (
	"slices"
	"time"
)

const (
	// demandWindow is the time in which calls count as one burst. A burst of fifty takes a fraction of it, and the refill
	// makes about 16 sandboxes in it on an idle host.
	demandWindow = 10 * time.Second
	// holdFor is the time for which a pool keeps the number of a burst. A program that starts bursts every few minutes finds
	// the same number each time.
	holdFor = 10 * time.Minute
	// fallEvery is the pause between two steps of the fall. Each step halves the number.
	fallEvery = time.Minute
)

// demand decides how many sandboxes a pool keeps ready. This number rises as soon as a caller finds none: to the number
// of calls in demandWindow. If no window has as many calls for holdFor, the number halves every fallEvery, down to the
// resting number. The zero value never had a call. Driver.mu guards it.
type demand struct {
	calls []time.Time // calls in the window, oldest first; no more than the maximum
	burst int         // number of a burst, 0 if there was none
	falls time.Time   // time of the next step of the fall
}

// called counts a call. most is the largest number that a burst can have.
func (d *demand) called(now time.Time, most int) {
	old := 0
	for old < len(d.calls) && (now.Sub(d.calls[old]) > demandWindow || len(d.calls)-old >= most) {
		old++
	}
	d.calls = slices.Delete(d.calls, 0, old)
	if most == 0 {
		return
	}
	d.calls = append(d.calls, now)
	if len(d.calls) >= d.burst {
		d.falls = now.Add(holdFor)
	}
}

// missed reports that the caller of the last call found no ready sandbox.
func (d *demand) missed(now time.Time) {
	if len(d.calls) > d.burst {
		d.burst, d.falls = len(d.calls), now.Add(holdFor)
	}
}

// fall lets the number fall if it is time.
func (d *demand) fall(now time.Time) {
	if d.burst > 0 && !now.Before(d.falls) {
		d.burst, d.falls = d.burst/2, now.Add(fallEvery)
	}
}

// limit lets the number fall at once, because the host is short of memory.
func (d *demand) limit(n int) { d.burst = min(d.burst, n) }

// wanted returns the number of sandboxes to keep ready now. A pool without a resting number stays empty.
func (k *pool) wanted() int {
	if k.Count <= 0 {
		return 0
	}
	return max(k.Count, k.burst)
}

// lacks reports whether a pool has fewer than n sandboxes and can get one now.
func (k *pool) lacks(n int, now time.Time) bool {
	return !k.broken && len(k.ready) < n && !now.Before(k.again)
}

// lacking returns the pool that gets the next sandbox, or nil. The resting numbers of all pools come first. The caller
// must hold mu.
func (d *Driver) lacking(now time.Time) *pool {
	for _, k := range d.pools {
		if k.lacks(k.Count, now) {
			return k
		}
	}
	for _, k := range d.pools {
		if k.lacks(k.wanted(), now) {
			return k
		}
	}
	return nil
}

// excess removes a sandbox from a pool that has more than it wants, and returns it. If no pool has, it returns nil. The
// caller must hold mu.
func (d *Driver) excess() *ready {
	for _, k := range d.pools {
		if len(k.ready) > k.wanted() {
			return k.pop()
		}
	}
	return nil
}

// newest removes a sandbox because the memory is short: the newest of the last pool above its resting number, or else of
// the last pool that is not empty. The pool does not grow again until the next burst.
func (d *Driver) newest() *ready {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, above := range []bool{true, false} {
		for _, k := range slices.Backward(d.pools) {
			least := 0
			if above {
				least = k.Count
			}
			if len(k.ready) > least {
				r := k.pop()
				k.limit(len(k.ready))
				return r
			}
		}
	}
	return nil
}

// pop removes the newest sandbox of a pool that is not empty.
func (k *pool) pop() *ready {
	last := len(k.ready) - 1
	r := k.ready[last]
	k.ready = k.ready[:last:last]
	return r
}
