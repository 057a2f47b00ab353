package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

//go:embed inside/raw_client.py
var rawClient string

// block is the number of successive cells of one contender. It is small, because a shared machine changes its speed within
// seconds.
const block = 20

// timed is a series of cells to measure.
type timed struct {
	name string
	time func(ctx context.Context) ([]time.Duration, error)
}

// cell measures the round trip of `1+1`: over the API of cellhold, with a raw client in the same sandbox, and for the other
// contenders with their own clients.
func (b *bench) cell(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "cell", Title: "Round trip of `1+1`", Unit: "ms"})
	server, err := b.one(ctx, report.Restore, report.Warm, report.Cold)
	if err != nil {
		return err
	}
	session, err := server.OpenOne(ctx)
	if err != nil {
		return err
	}
	defer end(ctx, session)
	all := []timed{{report.Cellhold, func(ctx context.Context) ([]time.Duration, error) { return session.Time(ctx, "1+1", block) }}}
	if _, err := session.Run(ctx, rawClient); err != nil {
		return fmt.Errorf("start the raw client in the sandbox: %w", err)
	}
	all = append(all, timed{report.Raw, inside(session, "tuned")}, timed{report.Untuned, inside(session, "untuned")})
	others, closeAll := b.others(ctx, f)
	defer closeAll()
	b.blocks(ctx, append(all, others...), f)
	return nil
}

// others opens a session of each other contender.
func (b *bench) others(ctx context.Context, f *report.Figure) (all []timed, closeAll func()) {
	var sessions []contender.Session
	for _, e := range b.contenders(ctx, report.Bare, report.Article, report.Gateway, report.LLM) {
		s, err := e.Open(ctx)
		if err != nil {
			f.SeriesOf(e.name).Fail(err)
			continue
		}
		sessions = append(sessions, s)
		n := block
		if e.name == report.LLM {
			n = 1 // it polls for an answer five times a second
		}
		all = append(all, timed{e.name, func(ctx context.Context) ([]time.Duration, error) { return s.Time(ctx, "1+1", n) }})
	}
	return all, func() {
		for _, s := range sessions {
			if err := end(ctx, s); err != nil {
				b.say("cannot end a session: %v", err)
			}
		}
	}
}

// blocks measures all series in turns. The first block of each series is not counted.
func (b *bench) blocks(ctx context.Context, all []timed, f *report.Figure) {
	failed := map[string]bool{}
	for i := range b.n.blocks + 1 {
		for j := range all {
			t := all[(i+j)%len(all)]
			if failed[t.name] || ctx.Err() != nil {
				continue
			}
			within, cancel := context.WithTimeout(ctx, askTime)
			took, err := t.time(within)
			cancel()
			if err != nil {
				failed[t.name] = true
				f.SeriesOf(t.name).Fail(err)
				continue
			}
			for _, d := range took {
				if i > 0 {
					f.SeriesOf(t.name).Took(d)
				}
			}
		}
	}
}

// inside returns a function that measures cells of a kernel with the raw client.
func inside(s *contender.CellholdSession, kernel string) func(context.Context) ([]time.Duration, error) {
	return func(ctx context.Context) ([]time.Duration, error) {
		out, err := s.Run(ctx, fmt.Sprintf("print(%s.measure(%d))", kernel, block))
		if err != nil {
			return nil, err
		}
		var seconds []float64
		if err := json.Unmarshal([]byte(out.Text), &seconds); err != nil {
			return nil, errors.Join(errors.New("the answer of the raw client is invalid"), err)
		}
		took := make([]time.Duration, len(seconds))
		for i, s := range seconds {
			took[i] = time.Duration(s * float64(time.Second))
		}
		return took, nil
	}
}
