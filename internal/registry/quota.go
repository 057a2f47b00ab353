package registry

import (
	"context"
	"time"

	"cellhold"
)

// quota is what one owner has used of its share. Registry.mu guards it.
type quota struct {
	starting int         // its sessions that are being created
	created  []time.Time // when it created sessions in the last minute, oldest first
}

// quotaSpan is the time in which CreatesPerMinute counts. Each creation is counted, so that the limit holds in
// every minute, wherever it begins.
const quotaSpan = time.Minute

// hibernatedShare is how many sessions can hibernate for each that can run: they cost disk only.
const hibernatedShare = 4

// reserve takes n slots for sessions of an owner until release is called, when the sessions count by
// themselves. It counts and takes in one step, so that concurrent callers cannot pass a limit.
func (r *Registry) reserve(owner string, n int) (base context.Context, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		return nil, nil, errNotReady
	}
	all, own := r.runningSessions(), 0
	for _, s := range r.sessions {
		if rec := s.Record(); rec.Owner == owner && rec.State != cellhold.SessionEnded {
			own++
		}
	}
	if all+n > r.o.MaxSessions {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"The server runs %d sessions; its limit is %d. End or hibernate some, or raise --max-sessions.", all, r.o.MaxSessions)
	}
	q := r.quotas[owner]
	if q == nil {
		q = &quota{}
		r.quotas[owner] = q
	}
	if own += q.starting; own+n > r.o.MaxSessionsPerOwner {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has %d sessions; its limit is %d. End some, or raise --max-sessions-per-token.", own, r.o.MaxSessionsPerOwner)
	}
	if wait := q.take(time.Now(), n, r.o.CreatesPerMinute); wait > 0 {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token can create %d sessions within a minute, and has reached that limit. Try again in %d s, or raise --max-creates-per-minute.", r.o.CreatesPerMinute, int(wait/time.Second)+1)
	}
	r.starting += n
	q.starting += n
	return r.base, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.starting -= n
		q.starting -= n
	}, nil
}

// runningSessions counts the sessions that have a sandbox or are about to get one. The caller must hold r.mu.
func (r *Registry) runningSessions() int {
	n := r.starting
	for _, s := range r.sessions {
		if state := s.Record().State; state != cellhold.SessionEnded && state != cellhold.SessionHibernated {
			n++
		}
	}
	return n
}

// take notes n creations, or returns how long to wait until n are possible. A limit of 0 is none, and notes
// nothing.
func (q *quota) take(now time.Time, n, limit int) time.Duration {
	if limit == 0 {
		return 0
	}
	for len(q.created) > 0 && now.Sub(q.created[0]) >= quotaSpan {
		q.created = q.created[1:]
	}
	if n > limit {
		return quotaSpan // never possible; the error names the limit
	}
	if over := len(q.created) + n - limit; over > 0 {
		return quotaSpan - now.Sub(q.created[over-1])
	}
	for range n {
		q.created = append(q.created, now)
	}
	return 0
}
