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
func (m *Manager) reserve(owner string, n int) (base context.Context, release func(), err error) {
	if err := m.Ready(); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all, own := m.alive(), 0
	for _, s := range m.sessions {
		if s.owner == owner && s.record().State != cellhold.SessionEnded {
			own++
		}
	}
	if all+n > m.o.MaxSessions {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"The server runs %d sessions already, and %d are its limit. End or hibernate some, or raise --max-sessions.", all, m.o.MaxSessions)
	}
	q := m.quotas[owner]
	if q == nil {
		q = &quota{}
		m.quotas[owner] = q
	}
	if own += q.starting; own+n > m.o.MaxSessionsPerOwner {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has %d sessions already, and %d are its limit. End some, or raise --max-sessions-per-token.", own, m.o.MaxSessionsPerOwner)
	}
	if wait := q.ask(time.Now(), n, m.o.CreatesPerMinute); wait > 0 {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted,
			"This token has asked for %d sessions within a minute, which is its limit. Try again in %d s, or raise --max-creates-per-minute.", m.o.CreatesPerMinute, int(wait/time.Second)+1)
	}
	m.starting += n
	q.starting += n
	return m.base, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.starting -= n
		q.starting -= n
	}, nil
}

// alive counts the sessions that are awake or about to be. The caller holds mu.
func (m *Manager) alive() int {
	n := m.starting
	for _, s := range m.sessions {
		if state := s.record().State; state != cellhold.SessionEnded && state != cellhold.SessionHibernated {
			n++
		}
	}
	return n
}

// hibernatedShare is how many sessions may sleep for each that may be awake: they cost disk only.
const hibernatedShare = 4

// reserveAwake takes a place for a session that wakes up.
func (m *Manager) reserveAwake() (release func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if all := m.alive(); all >= m.o.MaxSessions {
		return nil, cellhold.Errorf(cellhold.Exhausted,
			"The session is hibernated, and cannot wake up: the server runs %d sessions already, which is its limit. End or hibernate one, or raise --max-sessions.", all)
	}
	m.starting++
	return m.giveBack(&m.starting), nil
}

// reserveBed takes a place for a session that is being hibernated.
func (m *Manager) reserveBed() (release func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.lying
	for _, s := range m.sessions {
		if s.record().State == cellhold.SessionHibernated {
			n++
		}
	}
	if n >= m.o.MaxHibernated {
		return nil, cellhold.Errorf(cellhold.Exhausted, "%d sessions are hibernated already, which is the limit. End one, or raise --max-hibernated.", n)
	}
	m.lying++
	return m.giveBack(&m.lying), nil
}

func (m *Manager) giveBack(slots *int) func() {
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		*slots--
	}
}

// ask notes n creations, or returns how long to wait for the next one that may be. No bound at all is
// zero, and remembers nothing.
func (q *quota) ask(now time.Time, n, most int) time.Duration {
	if most == 0 {
		return 0
	}
	for len(q.asked) > 0 && now.Sub(q.asked[0]) >= quotaSpan {
		q.asked = q.asked[1:]
	}
	if n > most {
		return quotaSpan // never; who asks is told the limit
	}
	if over := len(q.asked) + n - most; over > 0 {
		return quotaSpan - now.Sub(q.asked[over-1])
	}
	for range n {
		q.asked = append(q.asked, now)
	}
	return 0
}
