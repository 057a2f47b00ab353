package warm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"cellhold/internal/sandbox"
)

const (
	// lookEvery is how often the host's memory is looked at while nothing happens here: often enough to
	// give back before others run short, who need seconds to fill a tenth of a machine; rare enough to
	// cost nothing, as a look takes 30 µs. No event says how much is left, or that there is enough again:
	// the kernel's notice comes when somebody waits already. It is for those who fill a machine faster.
	lookEvery = 5 * time.Second
	// room is how much more than MinFree must be available before one is made: what it takes, 140 MB,
	// and as much again, so that it is not destroyed as soon as it is there.
	room = 280 << 20
	// calm is how long nothing is made after one was handed out. Whoever got it runs a first cell now, and
	// making a sandbox takes all the processor that it can get.
	calm = 250 * time.Millisecond
)

// Run keeps the shelves filled until the context ends, and then destroys what is ready, which is nobody's.
// After a kill of this process the next server finds these sandboxes without an owner, and destroys them.
func (d *Driver) Run(ctx context.Context) {
	d.mu.Lock()
	d.running = ctx
	d.mu.Unlock()
	d.tasks.Go(func() {
		if err := d.o.Stalls(ctx, d.nudge); err != nil {
			d.o.Logger.Debug("the kernel does not tell when memory is short, so it is only looked at from time to time", "every", lookEvery, "err", err)
		}
	})
	for ctx.Err() == nil {
		s, wait := d.next(ctx)
		if wait > 0 {
			d.rest(ctx, wait, d.wake)
			continue
		}
		began := time.Now()
		d.fill(ctx, s)
		d.rest(ctx, time.Duration(float64(time.Since(began))*(1/d.o.Budget-1)), nil)
	}
	d.Keep()
	d.tasks.Wait()
}

// rest waits until the time is over, something happens, or the context ends.
func (d *Driver) rest(ctx context.Context, t time.Duration, something <-chan struct{}) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-something:
	}
}

// next says what to make for a shelf now, or how long to wait if nothing happens.
func (d *Driver) next(ctx context.Context) (s sandbox.Spec, wait time.Duration) {
	roomy := d.slim(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !roomy || d.busy() {
		return s, lookEvery
	}
	if left := calm - time.Since(d.handed); left > 0 {
		return s, left
	}
	for _, k := range d.shelves {
		if !k.broken && len(k.ready) < k.Count && !time.Now().Before(k.again) {
			s = k.Spec
			s.ID, s.Labels = newID(), nil
			d.hidden[s.ID] = true // before it is there: List must not show it as somebody's
			return s, 0
		}
	}
	return s, lookEvery
}

// fill makes one sandbox and puts it on its shelf.
func (d *Driver) fill(ctx context.Context, s sandbox.Spec) {
	making, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	sb, err := d.make(making, s, false)
	if err != nil {
		d.show(s.ID)
		if ctx.Err() == nil {
			d.failed(s, err)
		}
		return
	}
	watching, unwatch := context.WithCancel(ctx)
	r := &ready{sandbox: sb, unwatch: unwatch}
	d.tasks.Go(func() { d.watch(watching, r) })
	if !d.put(r, s) {
		unwatch()
		d.destroy(ctx, sb)
	}
}

// watch replaces a ready sandbox that ends by itself.
func (d *Driver) watch(ctx context.Context, r *ready) {
	exit, err := r.sandbox.Wait(ctx)
	if err != nil || !d.drop(r) {
		return // it is somebody's now, or on its way to its end
	}
	d.o.Logger.Warn("a ready sandbox ended by itself", "sandbox", r.sandbox.ID(), "code", exit.Code, "signal", exit.Signal, "oom", exit.OOM)
	d.destroy(ctx, r.sandbox)
	d.nudge()
}

// drop takes a ready sandbox off its shelf; false when it is on none.
func (d *Driver) drop(r *ready) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.shelves {
		for i := range k.ready {
			if k.ready[i] == r {
				k.ready = append(k.ready[:i:i], k.ready[i+1:]...)
				return true
			}
		}
	}
	return false
}

// failed notes that one could not be made, and says so when none can be.
func (d *Driver) failed(s sandbox.Spec, err error) {
	d.o.Logger.Error("making a sandbox ready", "snapshot", s.From, "err", err)
	if d.breaks(s, err) {
		d.o.Broken(s.From, err)
	}
}

// breaks counts a failure, and reports whether it was the last one: nothing more is tried.
func (d *Driver) breaks(s sandbox.Spec, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.shelfOf(s)
	if k == nil || k.broken {
		return false
	}
	k.failures++
	k.again = time.Now().Add(min(againFirst<<(k.failures-1), againMost))
	k.broken = errors.Is(err, sandbox.ErrSnapshot) || k.failures >= tries
	return k.broken
}

// slim destroys ready sandboxes while the host's memory is short, the least important and newest first, and
// reports whether there is room for one more.
func (d *Driver) slim(ctx context.Context) bool {
	for ctx.Err() == nil {
		m, err := d.o.Memory()
		if err != nil {
			d.o.Logger.Error("looking at the host's memory", "err", err)
			return false
		}
		least := d.o.MinFree
		if least == 0 {
			least = m.Total / 10
		}
		if m.Available >= least {
			return m.Available >= least+room
		}
		r := d.newest()
		if r == nil {
			return false
		}
		d.o.Logger.Info("memory is short: destroying a ready sandbox", "sandbox", r.sandbox.ID(), "available", m.Available)
		r.unwatch()
		d.destroy(ctx, r.sandbox)
	}
	return false
}

// newest takes the newest sandbox off the last shelf that has any.
func (d *Driver) newest() *ready {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.shelves) - 1; i >= 0; i-- {
		k := d.shelves[i]
		if last := len(k.ready) - 1; last >= 0 {
			r := k.ready[last]
			k.ready = k.ready[:last:last]
			return r
		}
	}
	return nil
}

// idLength is that of a session's first sandbox, because all ids of one server have the same length.
const idLength = len("s0123456789abcdef-0000")

// newID names a sandbox that is nobody's yet.
func newID() sandbox.ID {
	var last [2]byte // in the form of the number that a session gives to its next sandbox
	rand.Read(last[:])
	return sandbox.ID(fmt.Sprintf("w%s-%x", strings.ToLower(rand.Text()[:idLength-6]), last))
}
