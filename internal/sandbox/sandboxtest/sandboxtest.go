// Package sandboxtest tests the contract that every driver must keep.
//
// A driver's own test calls Test. Tests of isolation run only for drivers whose Features promise it. The package creates no
// sandboxes itself and knows no driver.
package sandboxtest

import (
	"testing"

	"cellhold/internal/sandbox"
)

// Harness describes a driver to the suite.
type Harness struct {
	// Open returns a driver. All drivers of one test share their sandboxes: a driver finds the sandboxes of an earlier,
	// closed one. The suite closes the drivers.
	Open func(t *testing.T) sandbox.Driver

	// Spec is a small sandbox. The suite sets the ids and, in some tests, other limits.
	Spec sandbox.Spec

	// Probe says that the sandbox's agent is the program of BuildProbe, which can attack its surroundings. Without it the
	// suite only sends GET /health to the agent.
	Probe bool

	// Remember stores a value in the memory of the sandbox, and Recall returns it. Nil means to use the probe. Without
	// these functions and without a probe, snapshots are not tested.
	Remember func(t *testing.T, box sandbox.Sandbox, value string)
	Recall   func(t *testing.T, box sandbox.Sandbox) string

	// Spoil damages the files of a snapshot. Nil means that snapshots cannot be damaged.
	Spoil func(t *testing.T, name string)

	// Leftovers counts resources that the driver could leave on the host, by kind. It can be nil. The suite itself counts
	// the file descriptors, goroutines, mounts and child processes of the test.
	Leftovers func(t *testing.T) map[string]int

	// Parallel is the number of sandboxes to create at once. 0 means 8.
	Parallel int

	// Cycles is how often to create and destroy a sandbox in the tests for leaks. 0 means 5.
	Cycles int
}

// Attempt is the result of one attempt of the probe to do what hostile code would do.
type Attempt struct {
	Text string
	Err  string // empty after success
}

// Test checks that the driver keeps the contract.
func Test(t *testing.T, h Harness) {
	if h.Parallel == 0 {
		h.Parallel = 8
	}
	if h.Cycles == 0 {
		h.Cycles = 5
	}
	s := &suite{Harness: h}
	t.Run("Refusals", s.refusals)
	t.Run("Basics", s.basics)
	t.Run("Ownership", s.ownership)
	t.Run("Parallel", s.parallel)
	t.Run("Pause", s.pause)
	t.Run("Snapshots", s.snapshots)
	t.Run("Leftovers", s.leftovers)
	t.Run("Isolation", s.isolation)
	// The tests of isolation again, for restored sandboxes.
	t.Run("Continued", (&suite{Harness: h, wrap: continuing}).isolation)
}
