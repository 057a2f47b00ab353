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

// loads are numbers of sessions, and the cells that each runs without a pause: about two seconds of work.
var loads = []struct{ sessions, cells int }{{1, 200}, {8, 40}, {32, 16}}

// load measures how many cells a second several sessions run, each one cell at a time.
func (b *bench) load(ctx context.Context) error {
	for _, l := range loads {
		n := l.sessions
		f := b.report.Add(report.Figure{Key: fmt.Sprintf("load-%d", n), Title: fmt.Sprintf("Cells a second, sessions: %d", n), Unit: "cells/s", Higher: true})
		if err := roomFor(n); err != nil {
			f.LeftOut = err.Error()
			continue
		}
		who := b.contenders(ctx, report.Restore, report.Bare, report.Article, report.Gateway)
		if len(who) == 0 || who[0].name != report.Restore {
			who = append(b.contenders(ctx, report.Cold), who...)
		}
		for _, e := range who {
			if err := b.loadOne(ctx, e, n, l.cells, f.SeriesOf(e.name)); err != nil {
				f.SeriesOf(e.name).Fail(err)
			}
		}
	}
	return nil
}

// loadOne makes n sessions of one contender run cells each, repeatedly. The first time is not counted.
func (b *bench) loadOne(ctx context.Context, e *entry, n, cells int, into *report.Series) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	sessions, err := openAll(ctx, e, n)
	defer endAll(ctx, sessions)
	for i := 0; i <= b.n.seconds && err == nil; i++ {
		begun := time.Now()
		err = inParallel(sessions, func(s contender.Session) error {
			_, err := s.Time(ctx, "1+1", cells)
			return err
		})
		if err == nil && i > 0 {
			into.Put(float64(n*cells) / time.Since(begun).Seconds())
		}
	}
	return err
}

// measureRate runs do repeatedly in several workers, and records the rate in each window. The first window is not counted,
// because workers start in it.
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

// openAll opens n sessions, as many at a time as there are cores.
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
			return sessions, err // the others have the same error
		}
	}
	return sessions, nil
}

func endAll(ctx context.Context, sessions []contender.Session) {
	var all sync.WaitGroup
	for _, s := range sessions {
		if s != nil {
			all.Go(func() { _ = end(ctx, s) }) // after an error the session ends with its contender
		}
	}
	all.Wait()
}

// creates measures the sustained rate of sessions that are created, used for one cell and ended. The measurement starts after
// the stock of warm sandboxes is used up.
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
	stock.Store(int64(2 * b.o.warm)) // twice, because new ones become ready while others are used
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

// openUsed is openAll for sessions that have used pandas.
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
