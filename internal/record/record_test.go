package record

import (
	"testing"
	"time"

	"cellhold"
)

func TestOnlyASessionThatARequestMustResumeIsOverdue(t *testing.T) {
	now := time.Now()
	overdue := Session{Session: cellhold.Session{State: cellhold.SessionReady, Deadline: now, AtDeadline: cellhold.DeadlineHibernate, Resume: cellhold.ResumeOnRequest}}
	if !overdue.Overdue(now) {
		t.Error("a ready session at its deadline is not overdue")
	}
	for name, change := range map[string]func(*Session){
		"before its deadline":        func(s *Session) { s.Deadline = now.Add(1) },
		"without a deadline":         func(s *Session) { s.Deadline = time.Time{} },
		"that ends at its deadline":  func(s *Session) { s.AtDeadline = cellhold.DeadlineEnd },
		"that the next use resumes":  func(s *Session) { s.Resume = cellhold.ResumeOnUse },
		"without a policy":           func(s *Session) { s.Resume = "" },
		"that is hibernated already": func(s *Session) { s.State = cellhold.SessionHibernated },
	} {
		s := overdue
		change(&s)
		if s.Overdue(now) {
			t.Errorf("a session %s is overdue", name)
		}
	}
}
