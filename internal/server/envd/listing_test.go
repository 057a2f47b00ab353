package envd

import (
	"context"
	"fmt"
	"hash/maphash"
	"path"
	"runtime"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/server/envd/filesystempb"
)

// deep is a tree without an end. Each directory has a first entry that is a directory, and files after it.
func deep(pages *int, name string) listing {
	return listing{visit: func(cellhold.FileInfo) {}, page: func(_ context.Context, dir, _ string, limit int) ([]cellhold.FileInfo, bool, error) {
		*pages++
		list := []cellhold.FileInfo{{Path: path.Join(dir, "a"), Type: cellhold.FileDirectory}}
		for i := 1; i < limit; i++ {
			list = append(list, cellhold.FileInfo{Path: path.Join(dir, fmt.Sprintf("b%04d%s", i, name)), Type: cellhold.FileRegular})
		}
		return list, false, nil
	}}
}

func TestADeepListingKeepsOnlyTheEntriesOfItsLimit(t *testing.T) {
	for name, most := range map[string]int{"": maxEntries/pageSize + 1, strings.Repeat("x", 2000): 3} {
		pages := 0
		l := deep(&pages, name)
		if err := l.read(t.Context(), "/", 1<<30); cellhold.KindOf(err) != cellhold.Exhausted || pages > most {
			t.Errorf("names of %d bytes: got %v after %d pages, want Exhausted after at most %d", len(name)+5, err, pages, most)
		}
	}
}

func TestALongPathCountsInAListing(t *testing.T) {
	l := listing{visit: func(cellhold.FileInfo) {}, page: func(_ context.Context, _, _ string, limit int) (list []cellhold.FileInfo, more bool, err error) {
		for i := range limit {
			list = append(list, cellhold.FileInfo{Path: fmt.Sprintf("/%04d", i), Target: strings.Repeat("x", maxNames/limit)})
		}
		return list, false, nil
	}}
	if err := l.read(t.Context(), "/", 1); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("got %v, want Exhausted", err)
	}
}

// TestAWatchKeepsNoPaths: code in the sandbox chooses names, and a watch of long ones would keep 40 MB.
func TestAWatchKeepsNoPaths(t *testing.T) {
	x := &watch{dir: "/d", seed: maphash.MakeSeed(), known: map[uint64]bool{}}
	size := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	name := func(i int) string { return fmt.Sprintf("/d/%06d%s", i, strings.Repeat("x", 4000)) }
	before := size()
	for i := range maxEntries + 10 {
		x.translate(cellhold.FileChange{Type: cellhold.FileCreated, Path: name(i)})
	}
	if kept := int64(size()) - int64(before); kept > 4<<20 || len(x.known) != maxEntries {
		t.Errorf("a watch keeps %d bytes for %d files, want at most 4 MiB for %d", kept, len(x.known), maxEntries)
	}
	if got := x.translate(cellhold.FileChange{Type: cellhold.FileCreated, Path: name(7)}); len(got) != 1 || got[0].Type != filesystempb.EventType_EVENT_TYPE_WRITE {
		t.Errorf("a replaced file: got %v, want a write", got)
	}
}
