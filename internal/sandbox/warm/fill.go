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
	// checkInterval is the interval of checks of the host's memory. It is short enough to free memory before other
	// programs run out of it: they need seconds to fill a tenth of a machine. A check takes only 30 µs. The host's
	// kernel has no event for the remaining memory, or for its recovery. It has a pressure notice, which comes when a
	// program already waits for memory. Run uses the notice for programs that fill the memory faster.
	checkInterval = 5 * time.Second
	// headroom is the memory above MinFree that must be available before a sandbox is created: the 140 MB that it needs, and
	// as much again, so that it is not destroyed at once.
	headroom = 280 << 20
	// quietPeriod is the pause after a caller got a sandbox. The caller runs a first cell now, and the creation of a sandbox
	// uses all the CPU that it can get.
	quietPeriod = 250 * time.Millisecond
)

// Run keeps the pools filled until the context ends, and then destroys the ready sandboxes. If this process is killed,
// the next server finds these sandboxes without an owner and destroys them.
func (d *Driver) Run(ctx context.Context) {
	d.mu.Lock()
	d.running = ctx
	d.mu.Unlock()
	d.tasks.Go(func() {
		if err := d.o.Stalls(ctx, d.wakeUp); err != nil {
			d.o.Logger.Debug("no notices of memory pressure from the kernel; memory is only checked at intervals", "every", checkInterval, "err", err)
		}
	})
	for ctx.Err() == nil {
		work, wait := d.next(ctx)
		if work == nil {
			d.pause(ctx, wait, d.wake)
			continue
		}
		began := time.Now()
		work()
		d.pause(ctx, time.Duration(float64(time.Since(began))*(1/d.o.Budget-1)), nil)
	}
	d.Keep()
	d.tasks.Wait()
}

// pause waits until t has passed, wake has a value, or ctx ends.
func (d *Driver) pause(ctx context.Context, t time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

// next returns the next work: the creation of a ready sandbox, or the destruction of one that is not wanted any more. If
// there is none now, it returns the time to wait.
func (d *Driver) next(ctx context.Context) (work func(), wait time.Duration) {
	enough := d.freeMemory(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, k := range d.pools {
		k.fall(now)
	}
	if d.busy() {
		return nil, checkInterval
	}
	if left := quietPeriod - now.Sub(d.handed); left > 0 {
		return nil, left
	}
	if r := d.excess(); r != nil {
		r.unwatch()
		return func() { d.destroy(ctx, r.sandbox) }, 0
	}
	k := d.lacking(now)
	if k == nil || !enough {
		return nil, checkInterval
	}
	s := k.Spec
	s.ID, s.Labels = newID(), nil
	d.hidden[s.ID] = true // before its creation: List must not show it as owned
	return func() { d.fill(ctx, s) }, 0
}

// fill creates one sandbox, and gives it to a waiting caller or puts it into its pool.
func (d *Driver) fill(ctx context.Context, s sandbox.Spec) {
	making, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	sb, err := d.make(making, s, false)
	if err != nil {
		d.unhide(s.ID)
		if ctx.Err() == nil {
			d.failed(s, err)
		}
		return
	}
	watching, unwatch := context.WithCancel(ctx)
	r := &ready{sandbox: sb, unwatch: unwatch}
	d.tasks.Go(func() { d.watch(watching, r) })
	if !d.offer(r, s) {
		unwatch()
		d.destroy(ctx, sb)
	}
}

// watch replaces a ready sandbox that ends by itself.
func (d *Driver) watch(ctx context.Context, r *ready) {
	exit, err := r.sandbox.Wait(ctx)
	if err != nil || !d.removeReady(r) {
		return // it has an owner now, or is being destroyed
	}
	d.o.Logger.Warn("a ready sandbox ended by itself", "sandbox", r.sandbox.ID(), "code", exit.Code, "signal", exit.Signal, "oom", exit.OOM)
	d.destroy(ctx, r.sandbox)
	d.wakeUp()
}

// removeReady removes a ready sandbox from its pool. It returns false if the sandbox is in no pool.
func (d *Driver) removeReady(r *ready) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.pools {
		for i := range k.ready {
			if k.ready[i] == r {
				k.ready = append(k.ready[:i:i], k.ready[i+1:]...)
				return true
			}
		}
	}
	return false
}

// failed records a failed creation, and reports a broken snapshot.
func (d *Driver) failed(s sandbox.Spec, err error) {
	d.o.Logger.Error("cannot create a ready sandbox", "snapshot", s.From, "err", err)
	if d.breaks(s, err) {
		d.o.Broken(s.From, err)
	}
}

// breaks counts a failure, and reports whether the snapshot counts as broken from now on.
func (d *Driver) breaks(s sandbox.Spec, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.poolOf(s)
	if k == nil || k.broken {
		return false
	}
	k.failures++
	k.again = time.Now().Add(min(againFirst<<(k.failures-1), againMost))
	k.broken = errors.Is(err, sandbox.ErrSnapshot) || k.failures >= tries
	return k.broken
}

// freeMemory destroys ready sandboxes while the host has too little memory. The method newest selects them. freeMemory
// reports whether the memory suffices for one more sandbox.
func (d *Driver) freeMemory(ctx context.Context) bool {
	for ctx.Err() == nil {
		m, err := d.o.Memory()
		if err != nil {
			d.o.Logger.Error("cannot read the host's memory", "err", err)
			return false
		}
		least := d.o.MinFree
		if least == 0 {
			least = m.Total / 10
		}
		if m.Available >= least {
			return m.Available >= least+headroom
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

// idLength is the length of the id of a session's first sandbox: all ids of a server have the same length.
const idLength = len("s0123456789abcdef-0000")

// newID returns an id for a sandbox without an owner.
func newID() sandbox.ID {
	var last [2]byte // as long as the counter at the end of the ids of a session's sandboxes
	rand.Read(last[:])
	return sandbox.ID(fmt.Sprintf("w%s-%x", strings.ToLower(rand.Text()[:idLength-6]), last))
}
