package session_test

import (
	"testing"

	"cellhold"
	"cellhold/internal/packages"
	"cellhold/internal/packages/index"
	"cellhold/internal/session"
)

func TestForksRollbacksAndSleepGiveCodeNoNewNames(t *testing.T) {
	x, err := index.New(index.Options{Sources: []index.Source{{Folder: t.TempDir()}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := packages.New(packages.Options{Policy: packages.Policy{Mode: packages.Open}, Code: packages.CodeCallers, Index: x})
	if err != nil {
		t.Fatal(err)
	}
	s := newHost(t).serve(t).create(t, session.CreateRequest{})
	if _, err := s.Checkpoint(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	if err := s.AskAsCode(p, 0, 300); err != nil {
		t.Fatal(err)
	}
	if err := s.Rollback(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	forks, err := s.Fork(t.Context(), 1, "before")
	if err != nil {
		t.Fatal(err)
	}
	hibernate(t, s)
	run(t, s, "set x 42")
	more, err := forks[0].Fork(t.Context(), 1, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*session.Session{"the session": s, "its fork": forks[0], "the fork of that": more[0]} {
		if err := s.AskAsCode(p, 300, 301); cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.AskAsCode(p, 0, 1); err != nil {
			t.Errorf("%s, what it has asked for: %v", name, err)
		}
	}
}
