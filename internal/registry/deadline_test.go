package registry_test

import (
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

// until reads the events of a session until one of that type comes.
func until(t *testing.T, s *session.Session, wanted cellhold.EventType) {
	t.Helper()
	for ev, err := range s.History().Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == wanted {
			return
		}
	}
	t.Fatalf("the events ended without %s", wanted)
}

func TestASessionEndsAtItsDeadlineAlthoughACellRuns(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	c := submit(t, s, session.ExecuteRequest{Code: "loop"})
	awaitStart(t, s, c)
	if err := s.SetDeadline(t.Context(), terms.Deadline{Lifetime: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	until(t, s, cellhold.EventSessionEnded)
	if info := s.Info(); info.Reason != cellhold.EndExpired {
		t.Errorf("got the reason %s, want %s", info.Reason, cellhold.EndExpired)
	}
}

func TestADeadlineAndItsTermsSurviveARestartOfTheServer(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	request := registry.CreateRequest{
		Process:  terms.Process{Env: map[string]string{"A": "1"}, Dir: "/", Resume: cellhold.ResumeOnRequest},
		Deadline: &terms.Deadline{Lifetime: time.Hour, Action: cellhold.DeadlineHibernate}, Key: "k",
	}
	s := first.create(t, request)
	hibernate(t, s)
	before := s.Record()
	first.stop()
	second := h.serve(t)
	again, err := second.Session(t.Context(), "me", s.ID())
	if err != nil {
		t.Fatal(err)
	}
	got := again.Record()
	if !got.Deadline.Equal(before.Deadline) || got.AtDeadline != before.AtDeadline || got.Env["A"] != "1" || got.Dir != "/" || !got.Paused(time.Now()) {
		t.Errorf("got %+v, want the terms of %+v", got, before)
	}
	if _, err := again.Execute(t.Context(), session.ExecuteRequest{Code: "print x"}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("use of a session that waits for a request: got %v, want a conflict", err)
	}
	if same := second.create(t, request); same.ID() != s.ID() {
		t.Errorf("the same key after a restart: got the session %s, want %s", same.ID(), s.ID())
	}
	if err := again.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := run(t, again, "print x"); c.Status != cellhold.StatusOK {
		t.Errorf("after the request to resume: got %s, want ok", c.Status)
	}
}

func TestARequestMarksAnIdleHibernationAsRequested(t *testing.T) {
	s := newHost(t).serve(t, func(o *registry.Options) { o.HibernateAfter = time.Millisecond }).create(t, registry.CreateRequest{
		Process: terms.Process{Resume: cellhold.ResumeOnRequest}, Deadline: &terms.Deadline{Lifetime: time.Hour},
	})
	until(t, s, cellhold.EventSessionHibernated)
	if s.Record().Paused(time.Now()) {
		t.Error("an idle session counts as paused")
	}
	if err := s.Hibernate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.Record().Paused(time.Now()) {
		t.Error("a session does not count as paused after a request")
	}
}

func TestTheRecordOfAnEndedSessionHasNoVariablesAndNoKey(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{Process: terms.Process{Env: map[string]string{"TOKEN": "hidden"}}, Key: "k"})
	if rec := s.Record(); rec.Env == nil || rec.KeyDigest == "" {
		t.Fatalf("got %+v, want the variables and the digest while the session lives", rec)
	}
	if err := s.SetDeadline(t.Context(), terms.Deadline{Lifetime: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	until(t, s, cellhold.EventSessionEnded)
	first.stop()
	again, err := h.serve(t).Session(t.Context(), "me", s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if rec := again.Record(); rec.State != cellhold.SessionEnded || rec.Env != nil || rec.Key != "" || rec.KeyDigest != "" {
		t.Errorf("got %+v, want an ended session without variables and key", rec)
	}
}
