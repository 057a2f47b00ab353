package registry

import (
	"context"
	"time"

	"cellhold"
)

// quota counts the use of one owner. Registry.mu guards it.
type quota struct {
	starting int         // number of sessions that are being created
	created  []time.Time // times at which the owner created sessions in the last minute, oldest first
}

// quotaSpan is the period of CreatesPerMinute. A quota has the time of each creation, so that the limit holds
// for any 60 seconds, not only for each minute of the clock.
const quotaSpan = time.Minute

// hibernatedPerRunning is the default number of hibernated sessions for each running session. Hibernated
// sessions need only disk.
const hibernatedPerRunning = 4

// reserve reserves n slots for an owner's sessions until release is called. By then the registry has the
// sessions and counts them. reserve checks and reserves in one step, so that concurrent callers cannot exceed a
// limit.
func (r *Registry) reserve(owner string, n int) (base context.Context, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready {
		return nil, nil, errNotReady
	}
	all, own := r.runningSessions(), 0
	for _, rec := range r.records() {
		if rec.Owner == owner && rec.State != cellhold.SessionEnded {
			own++
		}
	}
	if all+n > r.o.MaxSessions {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"The server has %d running sessions; the limit is %d. End or hibernate sessions, or raise --max-sessions.", all, r.o.MaxSessions)
	}
	q := r.quotas[owner]
	if q == nil {
		q = &quota{}
		r.quotas[owner] = q
	}
	if own += q.starting; own+n > r.o.MaxSessionsPerOwner {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has %d sessions; the limit is %d. End sessions, or raise --max-sessions-per-token.", own, r.o.MaxSessionsPerOwner)
	}
	if wait := q.take(time.Now(), n, r.o.CreatesPerMinute); wait > 0 {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has created too many sessions; the limit is %d per minute. Retry in %d s, or raise --max-creates-per-minute.", r.o.CreatesPerMinute, int(wait/time.Second)+1)
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

// runningSessions counts the sessions that have a sandbox or will get one. The caller must hold r.mu.
func (r *Registry) runningSessions() int {
	n := r.starting
	for _, rec := range r.records() {
		if rec.State != cellhold.SessionEnded && rec.State != cellhold.SessionHibernated {
			n++
		}
	}
	return n
}

// take records n creations, or returns the time until n are possible. A limit of 0 means no limit, and then
// take records nothing.
func (q *quota) take(now time.Time, n, limit int) time.Duration {
	if limit == 0 {
		return 0
	}
	for len(q.created) > 0 && now.Sub(q.created[0]) >= quotaSpan {
		q.created = q.created[1:]
	}
	if n > limit {
		return quotaSpan // n is above the limit, so it is never possible
	}
	if over := len(q.created) + n - limit; over > 0 {
		return quotaSpan - now.Sub(q.created[over-1])
	}
	for range n {
		q.created = append(q.created, now)
	}
	return 0
}
