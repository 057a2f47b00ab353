package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cellhold/bench/report"
)

// apart is the time between two calls of a burst: long enough that they arrive in the order of the calls.
const apart = 2 * time.Millisecond

// burst measures many creates at once. All sessions exist until the last one has answered.
func (b *bench) burst(ctx context.Context) error {
	for _, n := range b.n.bursts {
		key := fmt.Sprintf("burst-%d", n)
		took := b.report.Add(report.Figure{Key: key, Title: fmt.Sprintf("A burst of %d creates, each to its first answer", n), Unit: "ms"})
		failed := b.report.Add(report.Figure{Key: key + "-failed", Title: fmt.Sprintf("Of a burst of %d, not served", n), Unit: "sessions"})
		order := b.report.Add(report.Figure{Key: key + "-overtaken", Title: fmt.Sprintf("In a burst of %d, the most that were ready before one that had asked earlier", n), Unit: "sessions"})
		if err := roomFor(n); err != nil {
			took.LeftOut = err.Error()
			continue
		}
		who := b.contenders(ctx, report.Warm, report.Restore, report.Bare, report.Article)
		b.rounds(ctx, b.n.burstRounds, who, func(ctx context.Context, e *entry) error {
			all := b.openMany(ctx, e, n)
			failed.SeriesOf(e.name).Put(float64(count(all, func(s attempt) bool { return s.err != nil })))
			order.SeriesOf(e.name).Put(float64(overtaken(all)))
			for _, s := range all {
				if s.err != nil {
					took.SeriesOf(e.name).Fail(s.err)
				} else {
					took.SeriesOf(e.name).Took(s.answered.Sub(s.begun))
				}
			}
			return nil
		}, took)
	}
	return nil
}

// attempt is one of many creates at once.
type attempt struct {
	begun, created, answered time.Time
	err                      error
}

// openMany opens n sessions at once and returns their results.
func (b *bench) openMany(ctx context.Context, e *entry, n int) []attempt {
	all := make([]attempt, n)
	var answered, ended sync.WaitGroup
	answered.Add(n)
	for i := range all {
		ended.Go(func() { all[i].run(ctx, e, &answered) })
		pause(ctx, apart)
	}
	ended.Wait()
	return all
}

// run opens one session, runs a cell, and closes the session.
func (s *attempt) run(ctx context.Context, e *entry, answered *sync.WaitGroup) {
	s.begun = time.Now()
	session, err := e.Open(ctx)
	s.created = time.Now()
	if err != nil {
		s.err = err
		answered.Done()
		return
	}
	out, err := session.Run(ctx, firstPandas)
	s.answered = time.Now()
	answered.Done()
	if err == nil {
		err = right(firstPandas, out)
	}
	answered.Wait()
	s.err = errors.Join(err, end(ctx, session))
}

// overtaken returns the highest number of later sessions that were ready before an earlier one.
func overtaken(all []attempt) int {
	most := 0
	for i, s := range all {
		later := all[i+1:]
		most = max(most, count(later, func(l attempt) bool { return s.err == nil && l.err == nil && l.created.Before(s.created) }))
	}
	return most
}

func count[T any](of []T, is func(T) bool) int {
	n := 0
	for _, x := range of {
		if is(x) {
			n++
		}
	}
	return n
}

// pause waits for d, or until the run ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
