package registry

import (
	"context"
	"testing"
)

func TestReplacementsAreDeletedWhenNoCallerWaits(t *testing.T) {
	m := &Registry{replacing: map[string]*replacement{}}
	release, err := m.replaceInTurn(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.replaceInTurn(gone, "ann"); err == nil {
		t.Error("two callers hold one turn")
	}
	if len(m.replacing) != 1 {
		t.Errorf("%d turns while one is held, want 1", len(m.replacing))
	}
	release()
	if len(m.replacing) != 0 {
		t.Errorf("%d turns are left, want 0", len(m.replacing))
	}
}
