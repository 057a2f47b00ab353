package terms

import (
	"cmp"
	"time"

	"cellhold"
	"cellhold/internal/record"
)

// Fork has the terms of new forks of a session.
type Fork struct {
	Count      int
	Checkpoint string                // name of the checkpoint to continue from; empty: the present state
	Deadline   *Deadline             // nil: the deadline of the session
	Resume     cellhold.ResumePolicy // empty: the policy of the session

	Key       string // a request with the same key returns the same fork; empty: no key
	KeyDigest string // of the request that had the key
}

// Check refuses terms that no fork can have.
func (f Fork) Check() error {
	if f.Key != "" && f.Count != 1 {
		return cellhold.Errorf(cellhold.Invalid, "A request with an idempotency key can make only one fork, not %d.", f.Count)
	}
	if f.Deadline == nil {
		return nil
	}
	return f.Deadline.Check()
}

// Apply sets the terms in the record of a fork, which begins as a copy of the record of its session. The key of the
// session is not that of the fork.
func (f Fork) Apply(r *record.Session, now time.Time) {
	Renew(r, now)
	r.Key, r.KeyDigest = f.Key, f.KeyDigest
	r.Resume = cmp.Or(f.Resume, r.Resume)
	if f.Deadline != nil {
		f.Deadline.Apply(r, now)
	}
}
