package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cellhold/internal/sandbox"
)

// waiter is a creation that found none ready. It is either given one that has become ready meanwhile,
// or its turn to make one.
type waiter struct {
	spec  sandbox.Spec
	given chan *ready // capacity 1; nil says that it is its turn
}

// Create hands out the oldest ready sandbox that is as asked for, or makes one.
func (d *Driver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	if !d.ours(s.From) {
		return d.o.Driver.Create(ctx, s)
	}
	defer d.nudge() // there may be one to make up for
	for r := d.take(s); r != nil; r = d.take(s) {
		if sb := d.lease(ctx, r, s); sb != nil {
			return sb, nil
		}
	}
	r, err := d.turn(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	if r != nil {
		if sb := d.lease(ctx, r, s); sb != nil {
			return sb, nil
		}
		return nil, fmt.Errorf("create sandbox %s: %w: the ready one could not be marked", s.ID, sandbox.ErrRetry)
	}
	defer d.done()
	return d.make(ctx, s, true)
}

// take takes the oldest ready sandbox of that sort from its shelf; from then on it is the caller's alone.
func (d *Driver) take(s sandbox.Spec) *ready {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.shelfOf(s)
	if k == nil || len(k.ready) == 0 {
		return nil
	}
	r := k.ready[0]
	k.ready = slices.Delete(k.ready, 0, 1)
	d.handed = time.Now()
	return r
}

// lease makes a ready sandbox the caller's. One that cannot be marked as such is destroyed.
func (d *Driver) lease(ctx context.Context, r *ready, s sandbox.Spec) sandbox.Sandbox {
	r.unwatch()
	if m, ok := r.sandbox.(sandbox.Marker); ok {
		if err := m.Mark(ctx, s.Labels); err != nil {
			d.o.Logger.Error("marking a ready sandbox", "sandbox", r.sandbox.ID(), "err", err)
			d.destroy(ctx, r.sandbox)
			return nil
		}
	}
	d.show(r.sandbox.ID())
	return r.sandbox
}

// make makes a sandbox and primes it. When it fails, nothing is left.
func (d *Driver) make(ctx context.Context, s sandbox.Spec, awaited bool) (sandbox.Sandbox, error) {
	s.Often = true
	sb, err := d.o.Driver.Create(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := d.o.Prime(ctx, sb, awaited); err != nil {
		d.destroy(ctx, sb)
		return nil, fmt.Errorf("prime sandbox %s: %w", s.ID, err)
	}
	return sb, nil
}

// turn waits until one becomes ready that is as asked for, or it is the caller's turn to make one: then
// it returns nil, and the caller calls done. Who asks first is served first.
func (d *Driver) turn(ctx context.Context, s sandbox.Spec) (*ready, error) {
	w := &waiter{spec: s, given: make(chan *ready, 1)}
	d.mu.Lock()
	d.queue = append(d.queue, w)
	d.serve()
	d.mu.Unlock()
	select {
	case r := <-w.given:
		return r, nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	if i := slices.Index(d.queue, w); i >= 0 {
		d.queue = slices.Delete(d.queue, i, i+1)
		d.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	d.mu.Unlock()
	if r := <-w.given; r != nil { // at the same moment; nobody has touched it
		if !d.put(r, s) {
			r.unwatch()
			d.destroy(ctx, r.sandbox)
		}
	} else {
		d.done()
	}
	return nil, context.Cause(ctx)
}

// done gives a turn back.
func (d *Driver) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turns++
	d.serve()
}

// serve gives turns to those that wait. The caller holds mu.
func (d *Driver) serve() {
	for d.turns > 0 && len(d.queue) > 0 {
		d.turns--
		d.queue[0].given <- nil
		d.queue = slices.Delete(d.queue, 0, 1)
	}
}

// busy reports whether sandboxes are being made for callers: those come before the shelf.
func (d *Driver) busy() bool { return d.turns < atOnce() }

// put gives a ready sandbox to the first who waits for such a one, or puts it on its shelf; false when it
// is not wanted any more.
func (d *Driver) put(r *ready, s sandbox.Spec) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range d.queue {
		if alike(w.spec, s) {
			d.queue = slices.Delete(d.queue, i, i+1)
			w.given <- r
			return true
		}
	}
	k := d.shelfOf(s)
	if k == nil || len(k.ready) >= k.Count || d.running.Err() != nil {
		return false
	}
	k.ready, k.failures = append(k.ready, r), 0
	return true
}

// discard destroys a ready sandbox in the background. The caller holds mu, and has taken it off its shelf.
func (d *Driver) discard(r *ready) {
	r.unwatch()
	d.tasks.Go(func() { d.destroy(d.running, r.sandbox) })
}

// destroy ends a sandbox that is nobody's, also when the context has ended.
func (d *Driver) destroy(ctx context.Context, sb sandbox.Sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	if err := sb.Destroy(ctx); err != nil && !errors.Is(err, sandbox.ErrNotFound) {
		// The next server finds it and destroys it: it is nobody's.
		d.o.Logger.Error("destroying a sandbox", "sandbox", sb.ID(), "err", err)
	}
	d.show(sb.ID())
	d.o.Gone(sb.ID())
}

// show lets a sandbox be seen in List.
func (d *Driver) show(id sandbox.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.hidden, id)
}
