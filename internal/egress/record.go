package egress

import (
	"context"
	"sync"
	"time"

	"cellhold"
)

const (
	// maxListed is how many attempts of one gate are recorded one by one; each takes about 300 bytes
	// in the journal, so this is a few megabytes.
	maxListed = 10_000
	// summaryTime is how often one more is recorded after that, with the number of those between.
	summaryTime = time.Minute
)

// ledger keeps attempts, all of them or, when there are very many, their number.
type ledger struct {
	record func(context.Context, cellhold.EgressAttempt) error

	mu     sync.Mutex
	listed int
	more   int64
	last   time.Time // when one was recorded that stands for many
}

// begin records an attempt when it is decided. listed tells whether its end is to be recorded too.
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
