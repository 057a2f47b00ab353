package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// loads are the loads to measure: how many sessions run, and how many cells each session runs without a pause. On a
// server of cellhold, all cells of a turn take one to three seconds. At the end of a turn, some sessions have no more
// cells. In a shorter turn, their idle time would count more.
var loads = []struct{ sessions, cells int }{{1, 100}, {8, 30}, {32, 16}}

// load measures how many cells per second several sessions run. Each session runs one cell at a time. A target of the
// report compares sessions of cellhold with the same number of bare kernels, so these two contenders take turns. Then
// the other contenders take turns.
func (b *bench) load(ctx context.Context) error {
	for _, l := range loads {
		f := b.report.Add(report.Figure{Key: fmt.Sprintf("load-%d", l.sessions), Title: fmt.Sprintf("Cells a second, sessions: %d", l.sessions), Unit: "cells/s", Higher: true})
		ours := b.contenders(ctx, report.Restore)
		if len(ours) == 0 {
			ours = b.contenders(ctx, report.Cold)
		}
		compared := append(ours, b.contenders(ctx, report.Bare)...)
		for _, group := range [][]*entry{compared, b.contenders(ctx, report.Article, report.Gateway)} {
			if err := roomFor(l.sessions * len(group)); err != nil {
				f.LeftOut = err.Error()
				continue
			}
			b.loadInTurns(ctx, group, l.sessions, l.cells, f)
		}
	}
	return nil
}

// loadInTurns opens n sessions of each contender. Then the contenders take turns: the sessions of one contender run
// cells, and the other contenders wait. The first turn of each contender is not counted.
func (b *bench) loadInTurns(ctx context.Context, group []*entry, n, cells int, f *report.Figure) {
	sessions := map[*entry][]contender.Session{}
	var ready []*entry
	for _, e := range group {
		f.SeriesOf(e.name) // the table has this order
		within, cancel := context.WithTimeout(ctx, askTime)
		all, err := openAll(within, e, n)
		cancel()
		defer endAll(ctx, all)
		if err != nil {
			f.SeriesOf(e.name).Fail(err)
			continue
		}
		sessions[e] = all
		ready = append(ready, e)
	}
	begun := map[*entry]bool{}
	b.rounds(ctx, b.n.loads+1, ready, func(ctx context.Context, e *entry) error {
		at := time.Now()
		err := inParallel(sessions[e], func(s contender.Session) error {
			_, err := s.Time(ctx, "1+1", cells)
			return err
		})
		if err == nil && begun[e] {
			f.SeriesOf(e.name).Put(float64(n*cells) / time.Since(at).Seconds())
		}
		begun[e] = true
		return err
	}, f)
}

// measureRate calls do repeatedly in several workers, and records the rate of calls in each window. It does not count
// the first window, because the workers start then.
func (b *bench) measureRate(ctx context.Context, into *report.Series, windowSeconds, workers int, do func(context.Context, int) error) error {
	window := time.Duration(windowSeconds) * time.Second
	var done atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	failed := make([]error, workers)
	for i := range workers {
		all.Go(func() {
			for !stop.Load() && failed[i] == nil && ctx.Err() == nil {
				if failed[i] = do(ctx, i); failed[i] == nil {
					done.Add(1)
				}
			}
		})
	}
	sleep(ctx, window)
	last, at := done.Load(), time.Now()
	for range b.n.seconds {
		sleep(ctx, window)
		now, then := done.Load(), at
		at = time.Now()
		into.Put(float64(now-last) / at.Sub(then).Seconds())
		last = now
	}
	stop.Store(true)
	all.Wait()
	return errors.Join(failed...)
}

// openAll opens n sessions, and runs a first cell in each session. It opens at most one session per core at a time.
// After an error it also returns the sessions that it opened.
func openAll(ctx context.Context, e contender.Contender, n int) ([]contender.Session, error) {
	sessions, failed := make([]contender.Session, n), make([]error, n)
	places := make(chan struct{}, runtime.NumCPU())
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			s, err := e.Open(ctx)
			if failed[i] = err; err != nil {
				return
			}
			sessions[i] = s
			_, failed[i] = s.Run(ctx, "1+1")
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return sessions, err // other sessions usually have the same error
		}
	}
	return sessions, nil
}

func endAll(ctx context.Context, sessions []contender.Session) {
	var all sync.WaitGroup
	for _, s := range sessions {
		if s != nil {
			all.Go(func() { _ = end(ctx, s) }) // a session that does not end here ends with its contender
		}
	}
	all.Wait()
}

// creates measures how many sessions per second can be created, used for one cell and ended over a longer time. The
// measurement starts after the stock of warm sandboxes is used up.
func (b *bench) creates(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "creates", Title: "Sustained creates, each with its first answer and its end", Unit: "sessions/s", Higher: true})
	workers := 2 * runtime.NumCPU()
	f.Note = fmt.Sprintf("%d at a time.", workers)
	for _, e := range b.contenders(ctx, report.Warm, report.Restore, report.Cold, report.Bare, report.Article) {
		if err := b.createsOf(ctx, e, workers, f.SeriesOf(e.name)); err != nil {
			f.SeriesOf(e.name).Fail(err)
		}
	}
	return nil
}

func (b *bench) createsOf(ctx context.Context, e *entry, workers int, into *report.Series) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var stock atomic.Int64
	stock.Store(int64(2 * b.o.warm)) // twice, because the server makes new warm sandboxes during this loop
	var used sync.WaitGroup
	for range workers {
		used.Go(func() {
			for stock.Add(-1) >= 0 && ctx.Err() == nil {
				_, _ = b.runSession(ctx, e, firstPandas)
			}
		})
	}
	used.Wait()
	const window = 3 // seconds; about ten creates
	return b.measureRate(ctx, into, window, workers, func(ctx context.Context, _ int) error {
		_, err := b.runSession(ctx, e, firstPandas)
		return err
	})
}

// openUsed opens n sessions as openAll does, and then uses pandas in each session.
func openUsed(ctx context.Context, e contender.Contender, n int) ([]contender.Session, error) {
	sessions, err := openAll(ctx, e, n)
	if err != nil {
		return sessions, err
	}
	for _, s := range sessions {
		if _, err := s.Run(ctx, firstPandas); err != nil {
			return sessions, err
		}
	}
	return sessions, nil
}
