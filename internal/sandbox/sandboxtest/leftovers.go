package sandboxtest

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/sandbox"
)

func (s *suite) leftovers(t *testing.T) {
	t.Run("cycles leave nothing behind", func(t *testing.T) {
		s.leavesNothing(t, func(d sandbox.Driver) {
			for range s.Cycles {
				box, err := d.Create(within(t), s.spec())
				if err != nil {
					t.Fatal(err)
				}
				mustBeHealthy(t, box)
				destroy(t, box)
			}
		})
	})
	t.Run("cancelled creations leave nothing behind", func(t *testing.T) {
		s.leavesNothing(t, func(d sandbox.Driver) {
			// The delays begin at zero and grow by 10 ms. Creations take about 0.1 s, so some with long delays
			// complete.
			for i := range 4 * s.Cycles {
				delay := time.Duration(i) * 10 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), delay)
				spec := s.spec()
				box, err := d.Create(ctx, spec)
				cancel()
				switch {
				case err == nil:
					destroy(t, box)
				case !errors.Is(err, context.DeadlineExceeded):
					t.Errorf("cancelled after %v: %v", delay, err)
				}
				if _, ok := listed(t, d, spec.ID); ok {
					t.Errorf("cancelled after %v: the sandbox is listed", delay)
				}
			}
		})
	})
}

// leavesNothing counts resources before and after. A first sandbox opens the resources that a driver opens once and keeps.
func (s *suite) leavesNothing(t *testing.T, cycles func(sandbox.Driver)) {
	t.Helper()
	d := s.open(t)
	box, err := d.Create(within(t), s.spec())
	if err != nil {
		t.Fatal(err)
	}
	destroy(t, box)

	before := s.count(t)
	cycles(d)
	// Goroutines of closed connections need a moment to end.
	deadline := time.Now().Add(5 * time.Second)
	after := s.count(t)
	for more(before, after) && time.Now().Before(deadline) {
		runtime.Gosched()
		after = s.count(t)
	}
	if more(before, after) {
		t.Errorf("left behind (-before +after):\n%s", cmp.Diff(before, after))
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Log(stacks.String())
	}
}

// more reports whether a count has increased. A count can also decrease: a goroutine of the first sandbox can end after
// the first count.
func more(before, after map[string]int) bool {
	for what, n := range after {
		if n > before[what] {
			return true
		}
	}
	return false
}

func (s *suite) count(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{
		"file descriptors": entries(t, "/proc/self/fd"),
		"goroutines":       runtime.NumGoroutine(),
		"mounts":           lines(t, "/proc/self/mountinfo"),
		"child processes":  children(t),
	}
	if s.Leftovers != nil {
		for k, v := range s.Leftovers(t) {
			counts[k] = v
		}
	}
	return counts
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	e, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("counting needs %s: %v", dir, err)
	}
	return len(e)
}

func lines(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("counting needs %s: %v", file, err)
	}
	return strings.Count(string(b), "\n")
}

// children counts the test's child processes, zombies included.
func children(t *testing.T) int {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Skipf("counting needs /proc: %v", err)
	}
	n := 0
	for _, d := range dirs {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}
