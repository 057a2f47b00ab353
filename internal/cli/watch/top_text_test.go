package watch

import (
	"strings"
	"testing"

	"cellhold"
)

func TestTheTableHasNoControlCharactersOfTheServer(t *testing.T) {
	hostile := "a\b\x1b[2Jb"
	var table strings.Builder
	s := cellhold.Session{ID: cellhold.SessionID(hostile), User: hostile, State: cellhold.SessionState(hostile),
		Kernels: []cellhold.Kernel{{ID: cellhold.KernelID(hostile), State: cellhold.KernelState(hostile)}}}
	if err := (&TopCmd{}).print(&table, []cellhold.Session{s}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(table.String(), "\b\x1b") || strings.Count(table.String(), "a b") != 5 {
		t.Errorf("got %q, want five texts without control characters", table.String())
	}
}
