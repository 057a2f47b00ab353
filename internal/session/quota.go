package session

import (
	"context"
	"time"

	"cellhold"
)

// quota is what one caller has used of its share. Manager.mu guards it.
type quota struct {
	starting int         // its sessions that are being created
	asked    []time.Time // when it asked for sessions in the last minute, oldest first
}

// quotaSpan is what CreatesPerMinute counts in. Counting each creation, and not the mean, makes the
// bound hold in every minute, however it is cut.
const quotaSpan = time.Minute

// reserve takes one of the places for sessions until release is called, when the session counts
// by itself. Counting and taking are one step under the lock, so that no bound is passed however
// many ask at once.
func (m *Manager) reserve(owner string) (base context.Context, release func(), err error) {
	if err := m.Ready(); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all, own := m.starting, 0
	for _, s := range m.sessions {
		if s.record().State != cellhold.SessionEnded {
			all++
			if s.owner == owner {
				own++
			}
		}
	}
	if all >= m.o.MaxSessions {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"The server runs %d sessions already, which is its limit. End one, or raise --max-sessions.", all)
	}
	q := m.quotas[owner]
	if q == nil {
		q = &quota{}
		m.quotas[owner] = q
	}
	if own += q.starting; own >= m.o.MaxSessionsPerOwner {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has %d sessions already, which is its limit. End one, or raise --max-sessions-per-token.", own)
	}
	if wait := q.ask(time.Now(), m.o.CreatesPerMinute); wait > 0 {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has asked for %d sessions within a minute, which is its limit. Try again in %d s, or raise --max-creates-per-minute.", m.o.CreatesPerMinute, int(wait/time.Second)+1)
	}
	m.starting++
	q.starting++
	return m.base, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.starting--
		q.starting--
	}, nil
}

// ask notes a creation, or returns how long to wait for the next one that may be. No bound at all is
// zero, and remembers nothing.
func (q *quota) ask(now time.Time, most int) time.Duration {
	if most == 0 {
		return 0
	}
	for len(q.asked) > 0 && now.Sub(q.asked[0]) >= quotaSpan {
		q.asked = q.asked[1:]
	}
	if len(q.asked) >= most {
		return quotaSpan - now.Sub(q.asked[0])
	}
	q.asked = append(q.asked, now)
	return 0
}
