package warm

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// burst creates n sandboxes at once, and returns how many of them took no time.
func (s *stage) burst(n int, from string) (atOnce int) {
	s.t.Helper()
	began := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			sb, err := s.Create(s.t.Context(), spec(fmt.Sprintf("burst%d-%d", began.UnixMilli(), i), from))
			if err != nil {
				s.t.Error(err)
				return
			}
			mu.Lock()
			if time.Since(began) == 0 {
				atOnce++
			}
			mu.Unlock()
			if err := sb.Destroy(s.t.Context()); err != nil {
				s.t.Error(err)
			}
		})
	}
	wg.Wait()
	return atOnce
}

// wantKept checks how many sandboxes the driver wants to keep, and how many are ready.
func (s *stage) wantKept(from string, n int) {
	s.t.Helper()
	if wanted := s.Wanted(from); wanted != n {
		s.t.Errorf("the driver wants to keep %d sandboxes, want %d", wanted, n)
	}
	s.wantReady(from, n)
}

// setMemory sets the available memory of the host.
func (s *stage) setMemory(available int64) {
	s.maker.mu.Lock()
	defer s.maker.mu.Unlock()
	s.memory.Available = available
}

func TestASecondBurstFindsAllSandboxesReady(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.after(time.Minute)
		if got := s.burst(6, "shared-a"); got != 2 {
			t.Errorf("%d callers of the first burst waited for nothing, want the 2 for which sandboxes were ready", got)
		}
		s.after(time.Minute)
		s.wantKept("shared-a", 6)
		if got := s.burst(6, "shared-a"); got != 6 {
			t.Errorf("%d callers of the second burst waited for nothing, want all 6", got)
		}
	})
}

func TestAPoolKeepsTheNumberOfRepeatedBursts(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		for range 5 {
			s.burst(6, "shared-a")
			s.after(holdFor - time.Minute)
			s.wantKept("shared-a", 6)
		}
	})
}

func TestAfterQuietTimeAPoolFallsToItsRestingNumberInSteps(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.burst(8, "shared-a")
		s.after(holdFor - 10*time.Second)
		s.wantKept("shared-a", 8)
		for _, n := range []int{4, 2, 2} {
			s.after(fallEvery)
			s.wantKept("shared-a", n)
			if ids := s.maker.ids(); len(ids) != n {
				t.Errorf("%d sandboxes exist, want %d", len(ids), n)
			}
		}
	})
}

func TestAPoolGrowsUpToTheMaximum(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.burst(50, "shared-a")
		s.after(time.Minute)
		s.wantKept("shared-a", 10)
	})
}

func TestAPoolOfNoneStaysEmpty(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 0})
		s.burst(6, "shared-a")
		s.after(time.Minute)
		s.wantKept("shared-a", 0)
	})
}

func TestAPoolDoesNotGrowWhileItsCallersFindReadySandboxes(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.after(10 * time.Second)
		for range 20 { // more calls than one in each window
			if s.burst(1, "shared-a") != 1 {
				t.Error("a caller waited")
			}
			s.after(3 * time.Second)
			s.wantKept("shared-a", 1)
		}
	})
}

func TestSlowCallersAreNoBurst(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.setMemory(plenty.Total / 10) // enough for the present sandboxes only, so no caller finds a ready one
		for range 5 {
			s.burst(1, "shared-a")
			s.after(demandWindow)
		}
		if n := s.Wanted("shared-a"); n != 1 {
			t.Errorf("the driver wants to keep %d sandboxes after calls with long pauses, want 1", n)
		}
	})
}

func TestShortMemoryEndsTheGrowth(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 2})
		s.burst(8, "shared-a")
		s.after(time.Minute)
		s.wantKept("shared-a", 8)
		s.setMemory(1 << 30)
		s.after(checkInterval)
		s.wantReady("shared-a", 0)
		s.setMemory(plenty.Available)
		s.after(time.Minute)
		s.wantKept("shared-a", 2)
	})
}

func TestRestingNumbersComeBeforeGrowth(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		a, b := Kept{Spec: spec("", "shared-a"), Count: 1}, Kept{Spec: spec("", "shared-b"), Count: 1}
		s.Keep(a)
		s.burst(6, "shared-a")
		s.Keep(a, b)
		s.after(4500 * time.Millisecond) // for two sandboxes, with the pauses
		s.wantReady("shared-a", 1)
		s.wantReady("shared-b", 1)
		s.after(time.Minute)
		s.wantKept("shared-a", 6)
		for range 5 { // what freeMemory does while the memory is short
			s.newest().unwatch()
		}
		s.wantReady("shared-a", 1)
		s.wantReady("shared-b", 1)
	})
}

func TestExcessSandboxesWaitWhileCallersAreServed(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.Keep(Kept{Spec: spec("", "shared-a"), Count: 1})
		s.burst(6, "shared-a")
		s.after(time.Minute)
		other := spec("a", "shared-a") // has no ready sandbox
		other.Limits.Memory = 2
		release := make(chan struct{})
		s.maker.mu.Lock()
		s.maker.blocked = release
		s.maker.mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Create(t.Context(), other); err != nil {
				t.Error(err)
			}
		})
		s.after(holdFor + 10*fallEvery)
		s.wantReady("shared-a", 6)
		s.maker.mu.Lock()
		s.maker.blocked = nil
		s.maker.mu.Unlock()
		close(release)
		wg.Wait()
		s.after(time.Minute)
		s.wantKept("shared-a", 1)
	})
}
