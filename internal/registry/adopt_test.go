package registry_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
)

// silentDriver has sandboxes that do not answer, and sandboxes that do not end, until they get an answer.
type silentDriver struct {
	*fake.Driver
	silent map[sandbox.ID]chan error
}

// hold makes the driver wait for an answer of the sandbox, which is the result of the call. Without an answer, the call
// waits until its context ends.
func (d *silentDriver) hold(id sandbox.ID) chan<- error {
	answer := make(chan error, 1)
	d.silent[id] = answer
	return answer
}

func (d *silentDriver) wait(ctx context.Context, id sandbox.ID) error {
	if d.silent[id] == nil {
		return nil
	}
	select {
	case err := <-d.silent[id]:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *silentDriver) Adopt(ctx context.Context, id sandbox.ID) (sandbox.Sandbox, error) {
	if err := d.wait(ctx, id); err != nil {
		return nil, err
	}
	return d.Driver.Adopt(ctx, id)
}

// strayDriver has strays that do not end.
type strayDriver struct{ silentDriver }

func (d *strayDriver) Remove(ctx context.Context, id sandbox.ID) error {
	if err := d.wait(ctx, id); err != nil {
		return err
	}
	return d.Driver.Remove(ctx, id)
}

// unavailable asks for a session that is not adopted yet.
func (s *server) unavailable(t *testing.T, id cellhold.SessionID) {
	t.Helper()
	now, cancel := context.WithCancel(t.Context())
	cancel() // the call does not wait
	if _, err := s.Session(now, "me", id); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("session %s, which is not adopted: got %v, want kind unavailable", id, err)
	}
	if _, err := s.Session(now, "bob", id); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("the same for another caller: got %v, want kind not_found", err)
	}
}

// TestSandboxesThatDoNotAnswerDelayNoOtherSession has more silent sandboxes than adoptions at a time.
func TestSandboxesThatDoNotAnswerDelayNoOtherSession(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	var silent []cellhold.SessionID
	d := &silentDriver{silent: map[sandbox.ID]chan error{}}
	var answers []chan<- error
	for range 9 {
		s := first.create(t, registry.CreateRequest{})
		run(t, s, "set x 42")
		silent, answers = append(silent, s.ID()), append(answers, d.hold(sandbox.ID(s.Record().Sandbox)))
	}
	healthy := first.create(t, registry.CreateRequest{})
	run(t, healthy, "set x 43")
	first.stop()

	second := h.serve(t, func(o *registry.Options) { d.Driver, o.Driver, o.MaxSessions = o.Driver.(*fake.Driver), d, 10 })
	s, err := second.Session(t.Context(), "me", healthy.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := text(run(t, s, "get x")); got != `"43"` {
		t.Errorf("the session that answers has x = %q, want 43", got)
	}
	for _, id := range silent {
		second.unavailable(t, id)
	}
	if got := len(second.List("me")); got != 10 {
		t.Errorf("the list has %d sessions, want 10", got)
	}
	if _, err := second.Create(t.Context(), registry.CreateRequest{Owner: "me"}); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("an eleventh session: got %v, want kind exhausted", err)
	}
	for _, answer := range answers {
		answer <- nil
	}
	for _, id := range silent {
		s, err := second.Session(t.Context(), "me", id)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(run(t, s, "get x")); got != `"42"` {
			t.Errorf("a session that answered late has x = %q, want 42", got)
		}
	}
}

func TestAKeyFindsASessionThatIsNotAdoptedYet(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	request := registry.CreateRequest{Owner: "me", Key: "k"}
	s := first.create(t, request)
	d := &silentDriver{silent: map[sandbox.ID]chan error{}}
	answer := d.hold(sandbox.ID(s.Record().Sandbox))
	first.stop()

	second := h.serve(t, func(o *registry.Options) { d.Driver, o.Driver = o.Driver.(*fake.Driver), d })
	second.create(t, registry.CreateRequest{Key: "another"}) // does not wait
	again := make(chan cellhold.SessionID, 1)
	go func() {
		defer close(again)
		if x, err := second.Create(t.Context(), request); err != nil {
			t.Errorf("the request again: %v", err)
		} else {
			again <- x.ID()
		}
	}()
	answer <- nil
	if got := <-again; got != s.ID() {
		t.Errorf("the request again: got the session %s, want %s", got, s.ID())
	}
	if got := len(second.List("me")); got != 2 {
		t.Errorf("got %d sessions, want 2", got)
	}
}

// TestASessionThatNeverAnswersEndsAndLeavesNothingBehind while the server serves others.
func TestASessionThatNeverAnswersEndsAndLeavesNothingBehind(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	lost := first.create(t, registry.CreateRequest{})
	if _, err := lost.Checkpoint(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	d := &silentDriver{silent: map[sandbox.ID]chan error{}}
	answer := d.hold(sandbox.ID(lost.Record().Sandbox))
	first.stop()

	second := h.serve(t, func(o *registry.Options) { d.Driver, o.Driver = o.Driver.(*fake.Driver), d })
	second.unavailable(t, lost.ID())
	other := second.create(t, registry.CreateRequest{})
	answer <- context.DeadlineExceeded
	again, err := second.Session(t.Context(), "me", lost.ID())
	if err != nil {
		t.Fatal(err)
	}
	if rec := again.Record(); rec.State != cellhold.SessionEnded || rec.Reason != cellhold.EndLost {
		t.Errorf("the session is %s for the reason %q, want ended and lost", rec.State, rec.Reason)
	}
	infos, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != 1 || string(infos[0].ID) != other.Record().Sandbox {
		t.Errorf("the sandboxes are %v, want only that of the other session", infos)
	}
	if got := h.saved(); len(got) != 0 {
		t.Errorf("the snapshots %v are left, want none", got)
	}
}

func TestAStrayThatDoesNotEndDelaysNoSession(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	first.stop()
	d := &strayDriver{silentDriver{silent: map[sandbox.ID]chan error{}}}
	stray, err := h.world.Open().Create(t.Context(), sandbox.Spec{ID: "stray", Rootfs: "/",
		Limits: sandbox.Limits{Memory: 1, CPU: 1, Processes: 1, Disk: 1, Tmp: 1, Output: 1}})
	if err != nil {
		t.Fatal(err)
	}
	end := d.hold(stray.ID())
	second := h.serve(t, func(o *registry.Options) { d.Driver, o.Driver = o.Driver.(*fake.Driver), d })
	again, err := second.Session(t.Context(), "me", s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if c := run(t, again, "set x 1"); c.Status != cellhold.StatusOK {
		t.Errorf("a cell beside the stray: %s", c.Status)
	}
	end <- nil
	second.stop() // waits for the removal
	infos, err := d.List(t.Context())
	if err != nil || slices.ContainsFunc(infos, func(i sandbox.Info) bool { return i.ID == stray.ID() }) {
		t.Errorf("the sandboxes are %v, %v; want no stray", infos, err)
	}
}

// stuckDriver has a sandbox whose save does not end: the one that is saved first.
type stuckDriver struct {
	*fake.Driver
	stuck atomic.Bool
	end   chan struct{} // ends the save
}

func (d *stuckDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	sb, err := d.Driver.Create(ctx, s)
	return &stuckSandbox{sb, d}, err
}

type stuckSandbox struct {
	sandbox.Sandbox
	driver *stuckDriver
}

func (b *stuckSandbox) Snapshot(ctx context.Context, name string) error {
	if b.driver.stuck.CompareAndSwap(false, true) {
		<-b.driver.end
	}
	return b.Sandbox.Snapshot(ctx, name)
}

func TestAnIdleSessionWhoseSaveDoesNotEndDelaysNoOtherSession(t *testing.T) {
	h := newHost(t)
	d := &stuckDriver{end: make(chan struct{})}
	s := h.serve(t, func(o *registry.Options) {
		d.Driver, o.Driver = o.Driver.(*fake.Driver), d
		o.IdleTimeout, o.HibernateAfter = time.Hour, 100*time.Millisecond
	})
	hibernated := make(chan struct{}, 2)
	for range 2 {
		one := s.create(t, registry.CreateRequest{})
		go func() {
			for ev := range one.History().Watch(t.Context(), 0) {
				if ev.Type == cellhold.EventSessionHibernated {
					hibernated <- struct{}{}
				}
			}
		}()
	}
	<-hibernated // while the other session is being saved
	close(d.end)
	<-hibernated
}
