package packages

import (
	"fmt"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

func TestALockHasAtMostAsManyPackagesAsASandboxCanReport(t *testing.T) {
	var lock []cellhold.Package
	var err error
	for round := range 3 {
		var changes []cellhold.PackageChange
		var come []cellhold.Package
		for i := range guestapi.MaxPackages {
			name := fmt.Sprintf("r%d-p%d", round, i)
			changes = append(changes, cellhold.PackageChange{Name: name, After: "1"})
			come = append(come, cellhold.Package{Name: name, Version: "1"}, cellhold.Package{Name: name, Version: "2"})
		}
		if lock, err = Merge(lock, changes, come); (err != nil) != (round > 0) {
			t.Errorf("round %d: got %v, want an error: %t", round, err, round > 0)
		}
	}
	if cellhold.KindOf(err) != cellhold.Exhausted || !strings.Contains(err.Error(), "the limit is 2000") {
		t.Errorf("got %v, want kind exhausted and \"the limit is 2000\"", err)
	}
	if len(lock) != guestapi.MaxPackages || lock[0].Name != "r0-p0" || lock[0].Version != "2" {
		t.Errorf("got %d packages and %+v as the first, want %d and r0-p0 in version 2", len(lock), lock[0], guestapi.MaxPackages)
	}
	lock, err = Merge(lock, []cellhold.PackageChange{{Name: "r0-p0", Before: "2"}, {Name: "new", After: "1"}}, []cellhold.Package{{Name: "new", Version: "1"}})
	if err != nil || len(lock) != guestapi.MaxPackages || lock[0].Name != "new" {
		t.Errorf("after a removal: got %d packages, %+v as the first, %v; want %d and new", len(lock), lock[0], err, guestapi.MaxPackages)
	}
}
