package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cellhold/internal/sandbox"
)

// waiter is a creation that found no ready sandbox. It receives either a sandbox that has become ready, or a slot: the
// permission to create one sandbox.
type waiter struct {
	spec  sandbox.Spec
	given chan *ready // capacity 1; nil is a slot
}

// Create returns the oldest ready sandbox with this specification, or creates one.
func (d *Driver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	if !d.ours(s.From) {
		return d.o.Driver.Create(ctx, s)
	}
	defer d.wakeUp() // if the call took a ready sandbox, Run replaces it
	if s.Asked.IsZero() {
		s.Asked = time.Now()
	}
	d.called(s)
	for { // once more for each ready sandbox that cannot be labelled; the caller keeps its place
		r := d.take(s)
		if r == nil {
			var err error
			if r, err = d.awaitReady(ctx, s); err != nil {
				return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
			}
		}
		if r == nil {
			defer d.done()
			return d.make(ctx, s, true)
		}
		if sb := d.handOver(ctx, r, s); sb != nil {
			return sb, nil
		}
	}
}

// called counts a call for the pool of a specification.
func (d *Driver) called(s sandbox.Spec) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.poolOf(s); k != nil {
		k.called(time.Now(), d.o.Most)
	}
}

// take removes the oldest ready sandbox with this specification from its pool. From then on only the caller uses it.
func (d *Driver) take(s sandbox.Spec) *ready {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.poolOf(s)
	if k == nil || len(k.ready) == 0 {
		return nil
	}
	r := k.ready[0]
	k.ready = slices.Delete(k.ready, 0, 1)
	d.handed = time.Now()
	return r
}

// handOver gives a ready sandbox the caller's labels. It destroys a sandbox that cannot be labelled.
func (d *Driver) handOver(ctx context.Context, r *ready, s sandbox.Spec) sandbox.Sandbox {
	r.unwatch()
	if m, ok := r.sandbox.(sandbox.Marker); ok {
		if err := m.Mark(ctx, s.Labels); err != nil {
			d.o.Logger.Error("cannot label a ready sandbox", "sandbox", r.sandbox.ID(), "err", err)
			d.destroy(ctx, r.sandbox)
			return nil
		}
	}
	d.unhide(r.sandbox.ID())
	return r.sandbox
}

// make creates a sandbox and primes it. If Prime fails, it destroys the sandbox.
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

// awaitReady waits until a matching sandbox becomes ready, or until the caller gets a slot. With a slot it returns nil,
// and the caller must call done. Callers are served in the order of Spec.Asked, not in the order of their calls. Between
// the time in Spec.Asked and the call, a session has other work. On a busy host this work can take a tenth of a second.
// In that time fifty later sessions can call.
func (d *Driver) awaitReady(ctx context.Context, s sandbox.Spec) (*ready, error) {
	w := &waiter{spec: s, given: make(chan *ready, 1)}
	d.mu.Lock()
	if k := d.poolOf(s); k != nil {
		k.missed(time.Now())
	}
	d.enqueue(w)
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
	if r := <-w.given; r != nil { // the sandbox came at the moment at which ctx ended
		if !d.offer(r, s) {
			r.unwatch()
			d.destroy(ctx, r.sandbox)
		}
	} else {
		d.done()
	}
	return nil, context.Cause(ctx)
}

// enqueue inserts a caller behind all that asked before or at the same time. The caller must hold mu.
func (d *Driver) enqueue(w *waiter) {
	i := len(d.queue)
	for i > 0 && d.queue[i-1].spec.Asked.After(w.spec.Asked) {
		i--
	}
	d.queue = slices.Insert(d.queue, i, w)
}

// done gives the caller's slot back, and serves the callers that wait.
func (d *Driver) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeSlots++
	d.handed = time.Now()
	d.serve()
}

// serve gives free slots to waiting callers. The caller must hold mu.
func (d *Driver) serve() {
	for d.freeSlots > 0 && len(d.queue) > 0 {
		d.freeSlots--
		d.queue[0].given <- nil
		d.queue = slices.Delete(d.queue, 0, 1)
	}
}

// busy reports whether sandboxes are being created for callers. Run then creates no ready sandboxes.
func (d *Driver) busy() bool { return d.freeSlots < atOnce() }

// offer gives a ready sandbox to the first caller that waits for it, or puts it into its pool. It returns false if the
// sandbox is not needed any more.
func (d *Driver) offer(r *ready, s sandbox.Spec) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range d.queue {
		if alike(w.spec, s) {
			d.queue = slices.Delete(d.queue, i, i+1)
			w.given <- r
			return true
		}
	}
	k := d.poolOf(s)
	if k == nil || len(k.ready) >= k.wanted() || d.running.Err() != nil {
		return false
	}
	k.ready, k.failures = append(k.ready, r), 0
	return true
}

// discard destroys a ready sandbox in the background. The caller must hold mu, and must have removed the sandbox from
// its pool.
func (d *Driver) discard(r *ready) {
	r.unwatch()
	d.tasks.Go(func() { d.destroy(d.running, r.sandbox) })
}

// destroy destroys a sandbox without an owner, even if ctx has ended.
func (d *Driver) destroy(ctx context.Context, sb sandbox.Sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	if err := sb.Destroy(ctx); err != nil && !errors.Is(err, sandbox.ErrNotFound) {
		// It has no owner, so the next server finds it and destroys it.
		d.o.Logger.Error("cannot destroy a sandbox", "sandbox", sb.ID(), "err", err)
	}
	d.unhide(sb.ID())
	d.o.Gone(sb.ID())
}

// unhide makes a sandbox visible in List.
func (d *Driver) unhide(id sandbox.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.hidden, id)
}
