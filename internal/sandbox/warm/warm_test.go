package warm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold/internal/sandbox"
)

// maker is a driver whose sandboxes are names in a list.
type maker struct {
	takes time.Duration // duration of a creation

	mu      sync.Mutex
	made    []sandbox.Spec
	alive   map[sandbox.ID]*thing
	fail    error
	primed  map[sandbox.ID]int
	deaf    bool          // sandboxes without an owner cannot be labelled
	blocked chan struct{} // if not nil, creations wait for it
}

type thing struct {
	m      *maker
	spec   sandbox.Spec
	labels map[string]string
	ended  chan struct{}
	once   sync.Once
}

func (m *maker) Features() sandbox.Features { return sandbox.Features{Snapshot: true} }

func (m *maker) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	m.mu.Lock()
	m.made = append(m.made, s)
	fail, blocked := m.fail, m.blocked
	m.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	timer := time.NewTimer(m.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fail != nil {
		return nil, fail
	}
	t := &thing{m: m, spec: s, labels: s.Labels, ended: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.alive[s.ID] != nil {
		return nil, errors.New("the sandbox exists already")
	}
	m.alive[s.ID] = t
	return t, nil
}

func (m *maker) Adopt(context.Context, sandbox.ID) (sandbox.Sandbox, error) {
	return nil, sandbox.ErrNotFound
}

func (m *maker) List(context.Context) ([]sandbox.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var infos []sandbox.Info
	for id, t := range m.alive {
		infos = append(infos, sandbox.Info{ID: id, Labels: t.labels})
	}
	return infos, nil
}
func (m *maker) Remove(context.Context, sandbox.ID) error              { return nil }
func (m *maker) Close() error                                          { return nil }
func (m *maker) Snapshots(context.Context) ([]sandbox.Snapshot, error) { return nil, nil }
func (m *maker) RemoveSnapshot(ctx context.Context, name string) error { return nil }
func (t *thing) ID() sandbox.ID                                        { return t.spec.ID }
func (t *thing) Dial(context.Context) (net.Conn, error)                { return nil, errors.ErrUnsupported }
func (t *thing) Usage(context.Context) (sandbox.Usage, error)          { return sandbox.Usage{}, nil }
func (t *thing) Pause(context.Context) error                           { return nil }
func (t *thing) Resume(context.Context) error                          { return nil }
func (t *thing) Snapshot(context.Context, string) error                { return nil }
func (t *thing) Mark(_ context.Context, labels map[string]string) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.m.deaf {
		return errors.New("the disk is full")
	}
	t.labels = labels
	return nil
}

func (t *thing) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-t.ended:
		return sandbox.Exit{}, nil
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}

func (t *thing) Destroy(context.Context) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	delete(t.m.alive, t.spec.ID)
	t.once.Do(func() { close(t.ended) })
	return nil
}

func (m *maker) prime(_ context.Context, sb sandbox.Sandbox, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.primed[sb.ID()]++
	return nil
}

// history returns the specifications of all creations.
func (m *maker) history() []sandbox.Spec {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.made)
}

// primes returns how often a sandbox was primed.
func (m *maker) primes(id sandbox.ID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.primed[id]
}

func (m *maker) ids() []sandbox.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []sandbox.ID
	for id := range m.alive {
		ids = append(ids, id)
	}
	return ids
}

// stage is a running driver in a synctest bubble.
type stage struct {
	*Driver
	t      *testing.T
	maker  *maker
	memory Memory
	broken []string      // guarded by maker.mu
	stalls chan struct{} // each value is a notice of the kernel
	stop   func()
}

var plenty = Memory{Total: 16 << 30, Available: 12 << 30}

// play runs a story with a fake clock. The creation of a sandbox takes a second.
func play(t *testing.T, story func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, memory: plenty, stalls: make(chan struct{}), maker: &maker{takes: time.Second, alive: map[sandbox.ID]*thing{}, primed: map[sandbox.ID]int{}}}
		var err error
		s.Driver, err = New(Options{
			Driver: s.maker, Prime: s.maker.prime, Prefix: "shared-", Most: 10,
			Memory: func() (Memory, error) { s.maker.mu.Lock(); defer s.maker.mu.Unlock(); return s.memory, nil },
			Stalls: func(ctx context.Context, notice func()) error {
				for {
					select {
					case <-s.stalls:
						notice()
					case <-ctx.Done():
						return nil
					}
				}
			},
			Broken: func(from string, _ error) {
				s.maker.mu.Lock()
				defer s.maker.mu.Unlock()
				s.broken = append(s.broken, from)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.Run(ctx) })
		s.stop = func() { cancel(); wg.Wait() }
		defer s.stop()
		story(t, s)
	})
}

func spec(id, from string) sandbox.Spec {
	return sandbox.Spec{ID: sandbox.ID(id), From: from, Image: "i", Limits: sandbox.Limits{Memory: 1}, Labels: map[string]string{"owner": id}}
}

// after waits for d, and then until all goroutines block.
func (s *stage) after(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func (s *stage) wantReady(from string, n int) {
	s.t.Helper()
	if got := s.Ready(from); got != n {
		s.t.Fatalf("%d sandboxes are ready, want %d", got, n)
	}
}

func (s *stage) create(id, from string) sandbox.Sandbox {
	s.t.Helper()
	sb, err := s.Create(s.t.Context(), spec(id, from))
	if err != nil {
		s.t.Fatal(err)
	}
	return sb
}

func TestTheOldestReadySandboxIsReturnedAtOnce(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.after(10 * time.Second)
		s.wantReady("shared-a", 2)
		began := time.Now()
		first := s.create("a", "shared-a")
		if time.Since(began) != 0 {
			t.Errorf("a ready sandbox took %s, want no time", time.Since(began))
		}
		if len(first.ID()) != idLength || first.ID() != s.maker.history()[0].ID {
			t.Errorf("got %s, want the oldest of %v", first.ID(), s.maker.history())
		}
		if got := first.(*thing).labels["owner"]; got != "a" {
			t.Errorf("the owner label is %q, want a", got)
		}
		if n := s.maker.primes(first.ID()); n != 1 {
			t.Errorf("the sandbox was primed %d times, want once", n)
		}
		s.after(10 * time.Second)
		s.wantReady("shared-a", 2) // refilled
	})
}

func TestNoSandboxIsReturnedTwice(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 8})
		s.after(time.Minute)
		var mu sync.Mutex
		seen := map[sandbox.ID]bool{}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				sb, err := s.Create(t.Context(), spec(fmt.Sprintf("s%d", i), "shared-a"))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if seen[sb.ID()] {
					t.Errorf("%s was returned twice", sb.ID())
				}
				seen[sb.ID()] = true
			})
		}
		wg.Wait()
		for id := range seen {
			if s.maker.primes(id) != 1 {
				t.Errorf("%s was primed %d times", id, s.maker.primes(id))
			}
		}
	})
}

func TestASnapshotOfOneSessionIsPassedThrough(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		for _, from := range []string{"", "mine"} {
			sb := s.create("a"+from, from)
			if sb.ID() != sandbox.ID("a"+from) || s.maker.primes(sb.ID()) != 0 {
				t.Errorf("from %q: got %s, primed %d times", from, sb.ID(), s.maker.primes(sb.ID()))
			}
		}
	})
}

func TestASandboxWithOtherLimitsIsCreatedAndPrimed(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.after(10 * time.Second)
		other := spec("a", "shared-a")
		other.Limits.Memory = 2
		sb, err := s.Create(t.Context(), other)
		if err != nil || sb.ID() != "a" || s.maker.primes("a") != 1 {
			t.Errorf("got %v, %v, primed %d times", sb, err, s.maker.primes("a"))
		}
		s.wantReady("shared-a", 1)
	})
}

func TestADeadSandboxIsReplaced(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.after(10 * time.Second)
		dead := s.maker.history()[0].ID
		s.maker.mu.Lock()
		close(s.maker.alive[dead].ended)
		s.maker.alive[dead].once.Do(func() {})
		s.maker.mu.Unlock()
		s.after(10 * time.Second)
		s.wantReady("shared-a", 1)
		if ids := s.maker.ids(); len(ids) != 1 || ids[0] == dead {
			t.Errorf("the sandboxes are %v; want one other than the dead %s", ids, dead)
		}
	})
}

func TestOutdatedSandboxesAreDestroyedAndReadyOnesHidden(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.after(10 * time.Second)
		if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("List returned %v, %v; want no ready sandbox", list, err)
		}
		mine := s.create("a", "shared-a")
		s.Keep(Kept{Spec: spec("", "shared-b"), Count: 1})
		s.after(10 * time.Second)
		s.wantReady("shared-a", 0)
		s.wantReady("shared-b", 1)
		if list, err := s.List(t.Context()); err != nil || len(list) != 1 || list[0].ID != mine.ID() {
			t.Errorf("List returned %v, %v; want only %s", list, err, mine.ID())
		}
		if n := len(s.maker.ids()); n != 2 {
			t.Errorf("%d sandboxes exist, want the used one and the new ready one", n)
		}
	})
}

func TestShortMemoryEmptiesThePool(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.after(10 * time.Second)
		s.maker.mu.Lock()
		s.memory.Available = 1 << 30
		s.maker.mu.Unlock()
		s.after(checkInterval)
		s.wantReady("shared-a", 0)
		s.after(time.Minute)
		if n := len(s.maker.ids()); n != 0 {
			t.Errorf("%d sandboxes exist although the memory is short", n)
		}
		s.maker.mu.Lock()
		s.memory = plenty
		s.maker.mu.Unlock()
		s.after(20 * time.Second)
		s.wantReady("shared-a", 2)
	})
}

func TestAPressureNoticeChecksTheMemoryAtOnce(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.after(10 * time.Second)
		s.stalls <- struct{}{} // programs wait within their own limits; the host has memory
		s.after(time.Millisecond)
		s.wantReady("shared-a", 2)
		s.maker.mu.Lock()
		s.memory.Available = 1 << 30
		s.maker.mu.Unlock()
		s.after(time.Millisecond)
		s.wantReady("shared-a", 2)
		s.stalls <- struct{}{}
		s.after(time.Millisecond)
		s.wantReady("shared-a", 0)
	})
}

func TestFillingStaysWithinItsShareOfACore(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 3})
		for _, step := range []struct {
			after time.Duration
			ready int
		}{{1100 * time.Millisecond, 1}, {time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {time.Second, 3}} {
			s.after(step.after)
			s.wantReady("shared-a", step.ready)
		}
	})
}

func TestABurstIsServedInItsOrder(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		var wg sync.WaitGroup
		var want []sandbox.ID
		for i := range 50 {
			id := fmt.Sprintf("s%02d", i)
			want = append(want, sandbox.ID(id))
			wg.Go(func() {
				if _, err := s.Create(t.Context(), spec(id, "shared-a")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		var got []sandbox.ID
		for _, s := range s.maker.history() {
			got = append(got, s.ID)
		}
		// Callers that get their turn at the same moment can overtake each other.
		for i := range got {
			if at := slices.Index(want, got[i]); at/atOnce() != i/atOnce() {
				t.Fatalf("made in the order %v", got)
			}
		}
	})
}

func TestACallerThatAskedEarlierGoesBeforeLaterOnes(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		began := time.Now()
		create := func(wg *sync.WaitGroup, id string, asked time.Duration) {
			want := spec(id, "shared-a")
			want.Asked = began.Add(asked)
			wg.Go(func() {
				if _, err := s.Create(t.Context(), want); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		var wg sync.WaitGroup
		for i := range atOnce() {
			create(&wg, fmt.Sprint("first", i), 0)
		}
		for i := range 3 * atOnce() {
			create(&wg, fmt.Sprintf("later%d", i), time.Duration(2+i)*time.Millisecond)
		}
		create(&wg, "held up", time.Millisecond)
		wg.Wait()
		at := slices.IndexFunc(s.maker.history(), func(s sandbox.Spec) bool { return s.ID == "held up" })
		// Callers that get their turn at the same moment can overtake each other.
		if at/atOnce() != 1 {
			t.Errorf("the caller that was held up got sandbox %d, want one of the %d after the first %d", at, atOnce(), atOnce())
		}
	})
}

func TestACallerWhoseReadySandboxCannotBeLabelledGetsAnother(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.maker.deaf = true
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.after(time.Millisecond) // now a sandbox is being made for the pool
		var wg sync.WaitGroup
		for i := range atOnce() {
			wg.Go(func() { s.Create(t.Context(), spec(fmt.Sprint("first", i), "shared-a")) })
		}
		synctest.Wait()
		sb := s.create("waits", "shared-a") // is offered the pool's sandbox
		if sb.ID() != "waits" {
			t.Errorf("got %s, which cannot be labelled", sb.ID())
		}
		wg.Wait()
		if n := len(s.maker.history()); n < atOnce()+2 {
			t.Errorf("%d sandboxes were made; the story needs %d", n, atOnce()+2)
		}
	})
}

func TestACancelledCallerLeavesNoTrace(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.maker.blocked = make(chan struct{})
		var wg sync.WaitGroup
		for i := range atOnce() {
			wg.Go(func() { s.Create(t.Context(), spec(fmt.Sprint("a", i), "shared-a")) })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := s.Create(ctx, spec("left", "shared-a")); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(s.maker.blocked)
		wg.Wait()
		if s.busy() || len(s.queue) != 0 {
			t.Errorf("%d slots are free and %d callers wait; want no caller and all slots free", s.freeSlots, len(s.queue))
		}
	})
}

func TestABrokenSnapshotIsReportedOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		made int
	}{{"the driver says so", sandbox.ErrSnapshot, 1}, {"repeated failures", errors.New("odd"), tries}} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, func(t *testing.T, s *stage) {
				s.maker.fail = tt.err
				s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
				s.after(10 * time.Minute)
				if !slices.Equal(s.broken, []string{"shared-a"}) || len(s.maker.history()) != tt.made {
					t.Errorf("reported %v broken after %d tries, want one report after %d", s.broken, len(s.maker.history()), tt.made)
				}
			})
		})
	}
}

func TestTheEndDestroysReadySandboxes(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 3})
		s.after(10 * time.Second)
		mine := s.create("a", "shared-a")
		s.stop()
		if ids := s.maker.ids(); len(ids) != 1 || ids[0] != mine.ID() {
			t.Errorf("the sandboxes are %v, want only %s", ids, mine.ID())
		}
		s.create("b", "shared-a") // sandboxes can still be created
	})
}

func TestTheHostSaysHowMuchMemoryItHas(t *testing.T) {
	m, err := hostMemory()
	if err != nil || m.Available <= 0 || m.Available > m.Total {
		t.Errorf("got %+v, %v", m, err)
	}
}
