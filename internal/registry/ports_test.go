package registry

import (
	"testing"

	"cellhold"
)

func TestConnectionsToPortsAreCountedBySessionAndByOwner(t *testing.T) {
	r := &Registry{ports: portCounts{map[string]int{}, map[string]int{}, map[cellhold.SessionID]int{}}}
	var releases []func()
	take := func(owner string, id cellhold.SessionID, n int) {
		t.Helper()
		for range n {
			release, err := r.reservePort(owner, id, false)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
	}
	refused := func(owner string, id cellhold.SessionID) {
		t.Helper()
		if _, err := r.reservePort(owner, id, false); cellhold.KindOf(err) != cellhold.Exhausted {
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

func TestVisitorsLeaveConnectionsToTheOwner(t *testing.T) {
	r := &Registry{ports: portCounts{map[string]int{}, map[string]int{}, map[cellhold.SessionID]int{}}}
	var releases []func()
	take := func(id cellhold.SessionID, visitor bool) error {
		release, err := r.reservePort("ann", id, visitor)
		releases = append(releases, release)
		return err
	}
	for i := range maxVisitorPorts {
		if err := take([]cellhold.SessionID{"s1", "s2", "s3"}[i%3], true); err != nil {
			t.Fatal(err)
		}
	}
	if err := take("s4", true); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("one more visitor: got %v, want Exhausted", err)
	}
	releases = releases[:maxVisitorPorts]
	if err := take("s4", false); err != nil {
		t.Errorf("the owner: got %v, want a connection", err)
	}
	for _, release := range releases {
		release()
	}
	if len(r.ports.owners)+len(r.ports.visitors)+len(r.ports.sessions) != 0 {
		t.Errorf("after all connections: got %+v, want no counts", r.ports)
	}
}
