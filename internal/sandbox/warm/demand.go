package warm

import (
	"slices"
	"time"
)

const (
	// demandWindow is the time in which calls count as one burst. A burst of fifty calls takes a fraction of this time.
	// The refill makes about 16 sandboxes in this time on an idle host.
	demandWindow = 10 * time.Second
	// holdFor is the time for which a pool keeps its number after a burst. A program that starts bursts every few
	// minutes finds the same number of ready sandboxes each time.
	holdFor = 10 * time.Minute
	// fallEvery is the time between two reductions. Each reduction halves the number.
	fallEvery = time.Minute
)

// demand decides how many sandboxes a pool keeps ready. When a caller finds none, this number rises to the number of
// calls in the last demandWindow. After holdFor without as many calls in one demandWindow, the number halves. Then it
// halves every fallEvery, down to Kept.Count. The zero value has had no call. Driver.mu guards it.
type demand struct {
	calls []time.Time // calls in the window, oldest first; no more than the maximum
	burst int         // the number of the last burst, after the reductions; 0 without a burst
	falls time.Time   // time of the next reduction
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

// missed raises the number, because the caller of the last call found no ready sandbox.
func (d *demand) missed(now time.Time) {
	if len(d.calls) > d.burst {
		d.burst, d.falls = len(d.calls), now.Add(holdFor)
	}
}

// fall halves the number if the time of the next reduction has come.
func (d *demand) fall(now time.Time) {
	if d.burst > 0 && !now.Before(d.falls) {
		d.burst, d.falls = d.burst/2, now.Add(fallEvery)
	}
}

// limit reduces the number to n at once, because the host is short of memory.
func (d *demand) limit(n int) { d.burst = min(d.burst, n) }

// wanted returns the number of sandboxes to keep ready now. A pool with the Count 0 stays empty.
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

// lacking returns the pool that gets the next sandbox, or nil. It fills all pools up to their Count before a pool gets
// more because of a burst. The caller must hold mu.
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

// excess finds a pool with more sandboxes than wanted, removes one of them and returns it. It returns nil if there is
// no such pool. The caller must hold mu.
func (d *Driver) excess() *ready {
	for _, k := range d.pools {
		if len(k.ready) > k.wanted() {
			return k.pop()
		}
	}
	return nil
}

// newest removes a sandbox because the memory is short, and returns it. It takes the newest sandbox of the last pool
// that has more than Count, or else of the last pool that is not empty. If the pool still has Count or more, it does
// not grow again until the next burst.
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
