package registry

import (
	"testing"

	"cellhold"
)

func TestConnectionsToPortsAreCountedBySessionAndByOwner(t *testing.T) {
	r := &Registry{ports: portCounts{map[string]int{}, map[cellhold.SessionID]int{}}}
	var releases []func()
	take := func(owner string, id cellhold.SessionID, n int) {
		t.Helper()
		for range n {
			release, err := r.reservePort(owner, id)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
	}
	refused := func(owner string, id cellhold.SessionID) {
		t.Helper()
		if _, err := r.reservePort(owner, id); cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("one more of %s: got %v, want Exhausted", id, err)
		}
	}
	for _, id := range []cellhold.SessionID{"s1", "s2", "s3"} {
		take("ann", id, maxSessionPorts)
		refused("ann", id)
	}
	take("ann", "s4", maxOwnerPorts-3*maxSessionPorts)
	refused("ann", "s5")
	take("bob", "s6", 1)
	releases[0]()
	releases[0]() // counts once
	take("ann", "s1", 1)
	refused("ann", "s1")
	for _, release := range releases {
		release()
	}
	if len(r.ports.owners)+len(r.ports.sessions) != 0 {
		t.Errorf("after all connections: got %+v, want no counts", r.ports)
	}
}
