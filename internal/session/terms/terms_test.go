package terms

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/record"
)

func TestInvalidTermsAreRefused(t *testing.T) {
	many := map[string]string{}
	for i := range maxEnv + 1 {
		many["V"+strings.Repeat("x", i)] = ""
	}
	for name, err := range map[string]error{
		"a variable with a dash":     CheckEnv(map[string]string{"A-B": ""}),
		"a variable with a digit":    CheckEnv(map[string]string{"1A": ""}),
		"a variable without a name":  CheckEnv(map[string]string{"": ""}),
		"a zero byte":                CheckEnv(map[string]string{"A": "\x00"}),
		"a value that is not UTF-8":  CheckEnv(map[string]string{"A": "\xff"}),
		"too many variables":         CheckEnv(many),
		"a long value":               CheckEnv(map[string]string{"A": strings.Repeat("x", maxEnvBytes)}),
		"a relative directory":       CheckDir("work"),
		"a directory with zero byte": CheckDir("/\x00"),
		"a policy":                   Process{Resume: "never"}.Check(),
		"no lifetime":                Deadline{}.Check(),
		"a long lifetime":            Deadline{Lifetime: MaxLifetime + 1}.Check(),
		"an action":                  Deadline{Lifetime: 1, Action: "pause"}.Check(),
		"a key with a line break":    CheckKey("a\nb"),
	} {
		if cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("%s: got %v, want an invalid request", name, err)
		}
	}
	good := Process{Env: map[string]string{"A_1": "é\n'\""}, Dir: "/home/user", Resume: cellhold.ResumeOnRequest}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestAnExtensionNeverShortensTheLife(t *testing.T) {
	now := time.Now()
	var r record.Session
	Deadline{Lifetime: time.Hour, Action: cellhold.DeadlineHibernate}.Apply(&r, now)
	Deadline{Lifetime: time.Minute, Extend: true}.Apply(&r, now)
	if r.Deadline != now.Add(time.Hour) || r.AtDeadline != cellhold.DeadlineHibernate {
		t.Errorf("got the deadline %s %s, want one hour and hibernate", r.Deadline.Sub(now), r.AtDeadline)
	}
	Deadline{Lifetime: time.Minute}.Apply(&r, now)
	if r.Deadline != now.Add(time.Minute) {
		t.Errorf("without Extend: got %s, want one minute", r.Deadline.Sub(now))
	}
}

func TestTheTimeToTheDeadlineBeginsAgainAfterAPause(t *testing.T) {
	now := time.Now()
	r := record.Session{Lifetime: time.Minute}
	r.State, r.Deadline = cellhold.SessionHibernated, now.Add(-time.Hour)
	Renew(&r, now)
	if r.Deadline != now.Add(time.Minute) {
		t.Errorf("after a pause: got %s, want one minute", r.Deadline.Sub(now))
	}
	r.Deadline, r.Idle = now.Add(time.Second), true
	Renew(&r, now)
	if r.Deadline != now.Add(time.Second) {
		t.Errorf("after an idle hibernation: got %s, want the present deadline", r.Deadline.Sub(now))
	}
}

func TestAnExtensionGivesNoDeadlineToASessionWithoutOne(t *testing.T) {
	var r record.Session
	Deadline{Lifetime: time.Minute, Extend: true}.Apply(&r, time.Now())
	if !r.Deadline.IsZero() || r.Lifetime != 0 || r.AtDeadline != "" {
		t.Errorf("got the deadline %s %q, want none", r.Deadline, r.AtDeadline)
	}
}

func TestADeadlineIsRefusedForSessionsThatCannotHaveIt(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		state   cellhold.SessionState
		running bool
		allowed bool
	}{
		{cellhold.SessionReady, true, true},
		{cellhold.SessionHibernated, false, true},
		{cellhold.SessionHibernated, true, false},
		{cellhold.SessionEnded, false, false},
	} {
		var r record.Session
		r.State = test.state
		if err := (Deadline{Running: test.running}).Allowed(r, now); (err == nil) != test.allowed {
			t.Errorf("%s, only if it is running %t: got %v, want no error %t", test.state, test.running, err, test.allowed)
		}
	}
}

func TestAForkHasItsOwnTermsAndOtherwiseThoseOfItsParent(t *testing.T) {
	now := time.Now()
	parent := record.Session{Key: "k", KeyDigest: "d"}
	parent.Deadline, parent.AtDeadline, parent.Resume = now.Add(time.Second), cellhold.DeadlineHibernate, cellhold.ResumeOnUse
	plain, own := parent, parent
	Fork{}.Apply(&plain, now)
	if plain.Key != "" || plain.KeyDigest != "" || plain.Deadline != parent.Deadline || plain.AtDeadline != parent.AtDeadline || plain.Resume != parent.Resume {
		t.Errorf("got %+v, want the terms of %+v without its key", plain, parent)
	}
	Fork{Key: "f", KeyDigest: "e", Resume: cellhold.ResumeOnRequest, Deadline: &Deadline{Lifetime: time.Hour, Action: cellhold.DeadlineEnd}}.Apply(&own, now)
	if own.Key != "f" || own.KeyDigest != "e" || own.Deadline != now.Add(time.Hour) || own.AtDeadline != cellhold.DeadlineEnd || own.Resume != cellhold.ResumeOnRequest {
		t.Errorf("got %+v, want the terms of the fork", own)
	}
}
