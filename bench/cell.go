package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// cell measures the round trip of `1+1`: over the API of cellhold, with raw clients in the same sandbox, and for the other
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
	raw, err := rawClients(ctx, session, f)
	if err != nil {
		return err
	}
	others, closeAll := b.sessionsOf(ctx, f, report.Bare, report.BareRaw, report.Article, report.Gateway, report.LLM)
	defer closeAll()
	all = slices.Concat(all, raw, others)
	for _, t := range all {
		f.SeriesOf(t.name) // the table has this order
	}
	b.blocks(ctx, all, f)
	return nil
}

// rawClients starts the raw clients in a sandbox, each with a kernel. A client that cannot start is left out.
func rawClients(ctx context.Context, s *contender.CellholdSession, f *report.Figure) ([]timed, error) {
	if _, err := s.Run(ctx, rawClient); err != nil {
		return nil, fmt.Errorf("define the raw clients in the sandbox: %w", err)
	}
	var all []timed
	for _, c := range []struct{ name, class string }{{report.Stream, "Stream"}, {report.Raw, "ZeroMQ"}} {
		variable := "raw_" + c.class
		if _, err := s.Run(ctx, variable+" = "+c.class+"()"); err != nil {
			f.SeriesOf(c.name).Fail(err)
			continue
		}
		all = append(all, timed{c.name, inside(s, variable)})
	}
	return all, nil
}

// sessionsOf opens a session of each contender.
func (b *bench) sessionsOf(ctx context.Context, f *report.Figure, contenders ...string) (all []timed, closeAll func()) {
	var sessions []contender.Session
	for _, e := range b.contenders(ctx, contenders...) {
		s, err := e.Open(ctx)
		if err != nil {
			f.SeriesOf(e.name).Fail(err)
			continue
		}
		sessions = append(sessions, s)
		n := block
		if e.name == report.LLM {
			n = 1 // its client asks for an answer only five times a second
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

// blocks measures one block of each series, then the next block of each, and so on. The first blocks are not counted.
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

// inside returns a function that measures cells with a raw client in a sandbox. variable is the name of the client there.
func inside(s *contender.CellholdSession, variable string) func(context.Context) ([]time.Duration, error) {
	return func(ctx context.Context) ([]time.Duration, error) {
		out, err := s.Run(ctx, fmt.Sprintf("print(%s.measure(%d))", variable, block))
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
