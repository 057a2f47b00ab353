// Package sandboxtest tests the contract that every driver must keep.
//
// A driver's own test calls Test. Tests of isolation run only for drivers whose Features promise it. The package
// creates sandboxes only through the interface sandbox.Driver, and imports no driver.
package sandboxtest

import (
	"testing"

	"cellhold/internal/sandbox"
)

// Harness describes a driver to the suite.
type Harness struct {
	// Open returns a driver. A test can call Open several times. A later driver must find the sandboxes that an
	// earlier, closed driver left. The suite closes the drivers.
	Open func(t *testing.T) sandbox.Driver

	// Spec describes a small sandbox. The suite sets the id of each sandbox and, in some tests, other limits.
	Spec sandbox.Spec

	// Probe is true if the agent in the sandbox is the program that BuildProbe builds. This program attempts attacks.
	// If Probe is false, the suite only sends GET /health to the agent.
	Probe bool

	// Remember stores a value in the memory of the sandbox, and Recall returns the value. If both are nil, the suite
	// asks the probe. If there is no probe either, the suite skips the tests of snapshots.
	Remember func(t *testing.T, box sandbox.Sandbox, value string)
	Recall   func(t *testing.T, box sandbox.Sandbox) string

	// Spoil damages the files of a snapshot. Nil means that snapshots cannot be damaged.
	Spoil func(t *testing.T, name string)

	// Leftovers counts the resources of the driver on the host. The map has a count for each kind of resource.
	// Leftovers can be nil. The suite itself counts
	// the file descriptors, goroutines, mounts and child processes of the test.
	Leftovers func(t *testing.T) map[string]int

	// Parallel is the number of sandboxes to create at once. 0 means 8.
	Parallel int

	// Cycles is the number of times that the tests for leaks create and destroy a sandbox. 0 means 5.
	Cycles int
}

// Attempt is the result of one action that the probe tried, such as an attack.
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
