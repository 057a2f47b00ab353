package server

import (
	"testing"
	"time"

	"cellhold"
)

func TestASandboxFromASnapshotHasTheTermsOfItsRequest(t *testing.T) {
	h := newHarness(t)
	b := h.box(`{"autoPause":true,"autoResume":{"enabled":true},"timeout":600}`)
	var snapshot struct{ SnapshotID string }
	h.control(annToken, "POST", "/sandboxes/"+b.ID+"/snapshots", `{"name":"s"}`).decode(t, &snapshot)
	create := func(terms, key string) answered {
		req := h.request("POST", "/e2b/v2/sandboxes", `{"templateID":"`+snapshot.SnapshotID+`",`+terms+`}`)
		req.Header.Set("X-API-KEY", annToken)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		return h.send(req)
	}
	var plain, paused, first, second box
	create(`"timeout":60`, "").decode(t, &plain)
	if s := h.shown(plain.ID); s.AtDeadline != cellhold.DeadlineEnd || s.Resume != cellhold.ResumeOnRequest || time.Until(s.Deadline) > time.Minute {
		t.Errorf("got %+v, want an end in a minute and no resume on use", s)
	}
	create(`"timeout":60,"autoPause":true,"autoResume":{"enabled":true}`, "").decode(t, &paused)
	if s := h.shown(paused.ID); s.AtDeadline != cellhold.DeadlineHibernate || s.Resume != cellhold.ResumeOnUse {
		t.Errorf("got %+v, want a pause at the deadline and a resume on use", s)
	}
	create(`"timeout":60`, "k").decode(t, &first)
	create(`"timeout":60`, "k").decode(t, &second)
	if first.ID == "" || first.ID != second.ID {
		t.Errorf("the same key: got the sandboxes %s and %s, want one", first.ID, second.ID)
	}
	if a := create(`"timeout":61`, "k"); a.StatusCode != 409 {
		t.Errorf("another request with the key: got %d with %s, want 409", a.StatusCode, a.body)
	}
}
