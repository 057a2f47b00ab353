// Package sandboxtest is the promise that every driver keeps, as a test.
//
// A driver's own test calls Test. What only a driver that isolates can promise is asked only of
// one whose Features say so. The package makes no sandboxes by itself, and knows no driver.
package sandboxtest

import (
	"testing"

	"cellhold/internal/sandbox"
)

// Harness tells the suite about a driver.
type Harness struct {
	// Open returns a driver. All drivers that it returns in one test look at the same place:
	// after one has been closed, the next finds its sandboxes there. The suite closes them.
	Open func(t *testing.T) sandbox.Driver

	// Spec is a small sandbox. The suite gives it its ids and, in some tests, other limits.
	Spec sandbox.Spec

	// Probe says that the sandbox's agent is the program from BuildProbe, which can be asked
	// to attack its surroundings. Without it the suite asks the agent for GET /health only.
	Probe bool

	// Remember has the sandbox keep a value in its memory, and Recall asks for it. Nil means that
	// the probe is asked; without a probe and without them, snapshots are not tested.
	Remember func(t *testing.T, box sandbox.Sandbox, value string)
	Recall   func(t *testing.T, box sandbox.Sandbox) string

	// Spoil damages the image of a snapshot. Nil means that this cannot be.
	Spoil func(t *testing.T, name string)

	// Leftovers counts what the driver could leave on the host, by kind. The suite itself
	// counts the file descriptors, goroutines, mounts and child processes of the test. May be nil.
	Leftovers func(t *testing.T) map[string]int

	// Parallel is how many sandboxes to make at once. Zero means 8.
	Parallel int

	// Cycles is how often to make and destroy a sandbox where leaks are counted. Zero means 5.
	Cycles int
}

// Attempt is the outcome of something that the probe tried.
type Attempt struct {
	Text string
	Err  string // empty when it succeeded
}

// Test checks that the driver keeps the promise.
func Test(t *testing.T, h Harness) {
	if h.Parallel == 0 {
		h.Parallel = 8
	}
	if h.Cycles == 0 {
		h.Cycles = 5
	}
	s := &suite{Harness: h}
	t.Run("Refusals", s.refusals)
	t.Run("Life", s.life)
	t.Run("Ownership", s.ownership)
	t.Run("Crowd", s.crowd)
	t.Run("Sleep", s.sleep)
	t.Run("Snapshots", s.snapshots)
	t.Run("Leftovers", s.leftovers)
	t.Run("Isolation", s.isolation)
	// The same of sandboxes that were not made but continued.
	t.Run("Continued", (&suite{Harness: h, wrap: continuing}).isolation)
}
