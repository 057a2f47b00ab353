package egress

import (
	"context"
	"sync"
	"time"

	"cellhold"
)

const (
	// maxListed is the number of attempts of one gate that are recorded individually. Each takes about 300 bytes in the
	// journal, so all together take a few megabytes.
	maxListed = 10_000
	// summaryTime is the interval between the records of later attempts. Each such record also has the number of
	// attempts since the last record.
	summaryTime = time.Minute
)

// ledger records attempts: each attempt, or only their number above maxListed.
type ledger struct {
	record func(context.Context, cellhold.EgressAttempt) error

	mu     sync.Mutex
	listed int
	more   int64
	last   time.Time // time of the last summary
}

// begin records an attempt after the decision. listed reports whether its end must be recorded too.
func (l *ledger) begin(ctx context.Context, a cellhold.EgressAttempt) (listed bool, err error) {
	a.More, listed = l.admit()
	if !listed {
		return false, nil
	}
	return true, l.record(ctx, a)
}

func (l *ledger) admit() (more int64, listed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listed < maxListed {
		l.listed++
		return 0, true
	}
	if now := time.Now(); now.Sub(l.last) >= summaryTime {
		more, l.more, l.last = l.more, 0, now
		return more, true
	}
	l.more++
	return 0, false
}
