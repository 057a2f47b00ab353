package registry

import (
	"encoding/json"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/session/terms"
)

// TestTheDigestOfARequestSurvivesAnUpdate compares it with that of the parts that the request names.
func TestTheDigestOfARequestSurvivesAnUpdate(t *testing.T) {
	q := CreateRequest{Owner: "me", User: "ann", Key: "k", Prepared: "code of this version"}
	if got, want := q.digest(), digestOf(json.RawMessage(`{"User":"ann"}`)); got != want {
		t.Errorf("got %s, want %s: parts that a request does not use must have no text", got, want)
	}
	f := terms.Fork{Count: 1, Key: "k", Checkpoint: "c"}
	if got, want := forkDigest("s", f), digestOf(json.RawMessage(`{"Parent":"s","Checkpoint":"c"}`)); got != want {
		t.Errorf("a fork: got %s, want %s", got, want)
	}
}

func TestTheDigestCoversARequestButNoValueOfASecret(t *testing.T) {
	hour := &terms.Deadline{Lifetime: time.Hour}
	requests := map[string]CreateRequest{
		"nothing": {}, "user": {User: "a"}, "template": {Template: "a"}, "image": {Image: "a"}, "startup": {Startup: "a"},
		"limits": {Limits: cellhold.Limits{Memory: 1}}, "egress": {Egress: &cellhold.Egress{Policy: cellhold.EgressPublic}},
		"secret": {Secrets: []cellhold.Secret{{Name: "A", Host: "b"}}}, "figures": {Figures: &cellhold.Figures{}},
		"metadata": {Meta: map[string]string{"a": ""}}, "variable": {Process: terms.Process{Env: map[string]string{"A": "1"}}},
		"directory": {Process: terms.Process{Dir: "/a"}}, "resume": {Process: terms.Process{Resume: cellhold.ResumeOnUse}},
		"deadline": {Deadline: hour}, "action": {Deadline: &terms.Deadline{Lifetime: time.Hour, Action: cellhold.DeadlineEnd}}, "article": {Article: true},
	}
	seen := map[string]string{}
	for name, q := range requests {
		q.Key = "k"
		d := q.digest()
		if other, twice := seen[d]; twice {
			t.Errorf("the requests %s and %s have one digest", name, other)
		}
		seen[d] = name
	}
	with := requests["secret"]
	with.Key = "k"
	with.Secrets = []cellhold.Secret{{Name: "A", Host: "b", Value: "hidden"}}
	if seen[with.digest()] != "secret" {
		t.Error("the digest depends on the value of a secret")
	}
}
