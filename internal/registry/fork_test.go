package registry_test

import (
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/session/terms"
)

func TestForksHaveTheirTermsFromTheBeginning(t *testing.T) {
	m := newHost(t).serve(t)
	s := m.create(t, registry.CreateRequest{Process: terms.Process{Resume: cellhold.ResumeOnRequest},
		Deadline: &terms.Deadline{Lifetime: time.Hour, Action: cellhold.DeadlineHibernate}})
	forks, err := m.Fork(t.Context(), s, terms.Fork{Count: 2, Resume: cellhold.ResumeOnUse,
		Deadline: &terms.Deadline{Lifetime: 2 * time.Hour, Action: cellhold.DeadlineEnd}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range forks {
		rec := f.Record()
		if left := rec.Deadline.Sub(rec.Created); left != 2*time.Hour || rec.AtDeadline != cellhold.DeadlineEnd || rec.Resume != cellhold.ResumeOnUse {
			t.Errorf("got %s to the deadline, then %s, and resume on %s; want the terms of the request", left, rec.AtDeadline, rec.Resume)
		}
	}
	if _, err := m.Fork(t.Context(), s, terms.Fork{Count: 1, Deadline: &terms.Deadline{}}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("an invalid deadline: got %v, want kind invalid", err)
	}
}

func TestTheSameKeyGivesTheSameFork(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	request := terms.Fork{Count: 1, Key: "k", Deadline: &terms.Deadline{Lifetime: time.Hour}}
	made, err := first.Fork(t.Context(), s, request)
	if err != nil {
		t.Fatal(err)
	}
	first.stop()
	second := h.serve(t)
	if s, err = second.Session(t.Context(), "me", s.ID()); err != nil {
		t.Fatal(err)
	}
	again, err := second.Fork(t.Context(), s, request)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != 1 || again[0].ID() != made[0].ID() {
		t.Errorf("got the forks %v, want %s", again, made[0].ID())
	}
	for name, change := range map[string]func(*terms.Fork){
		"another deadline":   func(f *terms.Fork) { f.Deadline = &terms.Deadline{Lifetime: time.Minute} },
		"another checkpoint": func(f *terms.Fork) { f.Checkpoint = "c" },
	} {
		other := request
		change(&other)
		if _, err := second.Fork(t.Context(), s, other); cellhold.KindOf(err) != cellhold.Conflict {
			t.Errorf("%s: got %v, want kind conflict", name, err)
		}
	}
	many := request
	many.Count = 2
	if _, err := second.Fork(t.Context(), s, many); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("two forks with one key: got %v, want kind invalid", err)
	}
	if got := len(second.List("me")); got != 2 {
		t.Errorf("got %d sessions, want the session and one fork", got)
	}
}
