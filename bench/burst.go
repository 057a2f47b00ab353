package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cellhold/bench/report"
)

// apart is the time between two calls of a burst: enough for the order in which they were made to be that
// in which they arrive.
const apart = 2 * time.Millisecond

// burst measures many creates at once. All sessions live until the last one has answered.
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
		who := b.who(ctx, report.Warm, report.Restore, report.Bare, report.Article)
		b.rounds(ctx, b.n.burstRounds, who, func(ctx context.Context, e *entry) error {
			all := b.volley(ctx, e, n)
			failed.Of(e.name).Put(float64(count(all, func(s shot) bool { return s.err != nil })))
			order.Of(e.name).Put(float64(overtaken(all)))
			for _, s := range all {
				if s.err != nil {
					took.Of(e.name).Fail(s.err)
				} else {
					took.Of(e.name).Took(s.answered.Sub(s.begun))
				}
			}
			return nil
		}, took)
	}
	return nil
}

// shot is one of many creates at once.
type shot struct {
	begun, created, answered time.Time
	err                      error
}

// volley makes n sessions at once and returns how each fared.
func (b *bench) volley(ctx context.Context, e *entry, n int) []shot {
	all := make([]shot, n)
	var answered, ended sync.WaitGroup
	answered.Add(n)
	for i := range all {
		ended.Go(func() { all[i].fly(ctx, e, &answered) })
		pause(ctx, apart)
	}
	ended.Wait()
	return all
}

// fly is the life of one of them.
func (s *shot) fly(ctx context.Context, e *entry, answered *sync.WaitGroup) {
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

// overtaken returns by how many later ones the one that was overtaken most was overtaken.
func overtaken(all []shot) int {
	most := 0
	for i, s := range all {
		later := all[i+1:]
		most = max(most, count(later, func(l shot) bool { return s.err == nil && l.err == nil && l.created.Before(s.created) }))
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

// pause waits for a while, or until the run is over.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
