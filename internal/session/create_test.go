package session

import (
	"context"
	"testing"
)

func TestNothingIsLeftOfTheTurnsOfUsers(t *testing.T) {
	m := &Manager{replaced: map[string]*replacement{}}
	release, err := m.replacing(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.replacing(gone, "ann"); err == nil {
		t.Error("two have one turn")
	}
	if len(m.replaced) != 1 {
		t.Errorf("%d turns while one is held", len(m.replaced))
	}
	release()
	if len(m.replaced) != 0 {
		t.Errorf("%d turns are left", len(m.replaced))
	}
}
