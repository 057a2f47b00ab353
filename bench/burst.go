package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cellhold/bench/report"
)

// createInterval is the time between two create calls of a burst. It keeps the calls in order while the server gets CPU
// time. A server that gets no CPU time for a moment then finds several calls at once, and Go's runtime gives it the
// newest call first.
const createInterval = 2 * time.Millisecond

// burst measures creates that start almost at once. All sessions exist until the last one has answered.
func (b *bench) burst(ctx context.Context) error {
	for _, n := range b.n.bursts {
		key := fmt.Sprintf("burst-%d", n)
		took := b.report.Add(report.Figure{Key: key, Title: fmt.Sprintf("A burst of %d creates, each to its first answer", n), Unit: "ms"})
		failed := b.report.Add(report.Figure{Key: key + "-failed", Title: fmt.Sprintf("A burst of %d creates: failed sessions", n), Unit: "sessions"})
		order := b.report.Add(report.Figure{Key: key + "-overtaken", Title: fmt.Sprintf("A burst of %d creates: the most sessions that overtook one earlier session", n), Unit: "sessions"})
		if err := roomFor(n); err != nil {
			took.LeftOut = err.Error()
			continue
		}
		contenders := b.contenders(ctx, report.Warm, report.Restore, report.Bare, report.Article)
		b.rounds(ctx, b.n.burstRounds, contenders, func(ctx context.Context, e *entry) error {
			attempts := b.runBurst(ctx, e, n)
			failed.SeriesOf(e.name).Put(float64(countIf(attempts, func(s attempt) bool { return s.err != nil })))
			order.SeriesOf(e.name).Put(float64(overtaken(attempts)))
			for _, s := range attempts {
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

// attempt is one create of a burst, with its times and its error.
type attempt struct {
	begun, created, answered time.Time
	err                      error
}

// runBurst runs n attempts that start almost at once, and returns them.
func (b *bench) runBurst(ctx context.Context, e *entry, n int) []attempt {
	attempts := make([]attempt, n)
	var answered, ended sync.WaitGroup
	answered.Add(n)
	for i := range attempts {
		ended.Go(func() { attempts[i].run(ctx, e, &answered) })
		sleep(ctx, createInterval)
	}
	ended.Wait()
	return attempts
}

// run opens one session and runs a cell. It closes the session when all attempts have answered or failed.
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
		err = checkAnswer(firstPandas, out)
	}
	answered.Wait()
	s.err = errors.Join(err, end(ctx, session))
}

// overtaken returns the largest number of sessions that overtook the same earlier session: their create calls began
// later, and ended earlier.
func overtaken(attempts []attempt) int {
	most := 0
	for i, s := range attempts {
		later := attempts[i+1:]
		most = max(most, countIf(later, func(l attempt) bool { return s.err == nil && l.err == nil && l.created.Before(s.created) }))
	}
	return most
}

// countIf returns the number of elements for which is returns true.
func countIf[T any](of []T, is func(T) bool) int {
	n := 0
	for _, x := range of {
		if is(x) {
			n++
		}
	}
	return n
}

// sleep waits for d, or until the context ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
