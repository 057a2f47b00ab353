package registry

import (
	"testing"
	"time"
)

func TestTheLimitOfCreationsHoldsForEveryMinute(t *testing.T) {
	const most = 5
	var q quota
	start := time.Unix(1000, 0)
	var allowed []time.Time
	for ms := 0; ms < 300_000; ms += 700 {
		if now := start.Add(time.Duration(ms) * time.Millisecond); q.take(now, 1, most) == 0 {
			allowed = append(allowed, now)
		}
	}
	for i := most; i < len(allowed); i++ {
		if span := allowed[i].Sub(allowed[i-most]); span < quotaSpan {
			t.Fatalf("%d creations within %s; the limit is %d in a minute", most+1, span, most)
		}
	}
	if len(allowed) != 5*most {
		t.Errorf("%d creations were allowed in five minutes, want %d", len(allowed), 5*most)
	}
	if len(q.created) > most {
		t.Errorf("%d creations are stored, want at most %d", len(q.created), most)
	}
	if wait := q.take(allowed[len(allowed)-1], 1, most); wait <= 0 || wait > quotaSpan {
		t.Errorf("the wait is %s, want more than 0 and at most %s", wait, quotaSpan)
	}
	if (&quota{}).take(start, 1, 0) != 0 {
		t.Error("without a limit, a creation was refused")
	}
}
