package packages

import (
	"fmt"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

func TestALockHasNoMorePackagesThanASandboxCanReport(t *testing.T) {
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
			t.Errorf("round %d: %v", round, err)
		}
	}
	if cellhold.KindOf(err) != cellhold.Exhausted || !strings.Contains(err.Error(), "the limit is 2000") {
		t.Error(err)
	}
	if len(lock) != guestapi.MaxPackages || lock[0].Name != "r0-p0" || lock[0].Version != "2" {
		t.Errorf("%d packages, first %+v", len(lock), lock[0])
	}
	lock, err = Merge(lock, []cellhold.PackageChange{{Name: "r0-p0", Before: "2"}, {Name: "new", After: "1"}}, []cellhold.Package{{Name: "new", Version: "1"}})
	if err != nil || len(lock) != guestapi.MaxPackages || lock[0].Name != "new" {
		t.Errorf("after a removal: %v, %d packages, first %+v", err, len(lock), lock[0])
	}
}
