package registry_test

import (
	"fmt"
	"testing"

	"cellhold"
	"cellhold/internal/packages"
	"cellhold/internal/packages/index"
	"cellhold/internal/registry"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

// askAsCode makes the code of a session request the packages from to to-1, one after the other.
func askAsCode(t *testing.T, s *session.Session, from, to int) error {
	a, leave, err := s.Enter(t.Context())
	if err != nil {
		return err
	}
	defer leave()
	for i := from; i < to; i++ {
		if _, err := a.PlanOfCode(packages.Request{Requirements: []string{fmt.Sprint("n", i)}}); err != nil {
			return err
		}
	}
	return nil
}

func TestForksRollbacksAndHibernationDoNotResetTheTally(t *testing.T) {
	x, err := index.New(index.Options{Sources: []index.Source{{Folder: t.TempDir()}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := packages.New(packages.Options{Policy: packages.Policy{Mode: packages.Open}, Code: packages.CodeCallers, Index: x})
	if err != nil {
		t.Fatal(err)
	}
	m := newHost(t).serve(t, func(o *registry.Options) { o.Packages = p })
	s := m.create(t, registry.CreateRequest{})
	if _, err := s.Checkpoint(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	if err := askAsCode(t, s, 0, 300); err != nil {
		t.Fatal(err)
	}
	if err := s.Rollback(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	forks, err := m.Fork(t.Context(), s, terms.Fork{Count: 1, Checkpoint: "before"})
	if err != nil {
		t.Fatal(err)
	}
	hibernate(t, s)
	run(t, s, "set x 42")
	more, err := m.Fork(t.Context(), forks[0], terms.Fork{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*session.Session{"the session": s, "its fork": forks[0], "the fork of the fork": more[0]} {
		if err := askAsCode(t, s, 300, 301); cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("%s: %v", name, err)
		}
		if err := askAsCode(t, s, 0, 1); err != nil {
			t.Errorf("%s, packages of earlier requests: %v", name, err)
		}
	}
}
