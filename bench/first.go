package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// The first cells of a session: a use of pandas, and a plot. They are the same for all contenders.
const (
	firstPandas = "import pandas as pd; print(pd.DataFrame({\"a\":[1,2]}).sum().sum())"
	firstPlot   = "import matplotlib.pyplot as plt; plt.plot([1, 3, 2])"
)

// everybody lists the contenders in the measurements of new sessions.
var everybody = []string{report.Warm, report.Restore, report.Cold, report.Bare, report.Article, report.Gateway, report.LLM}

// life holds the durations of the parts of a session with one cell.
type life struct {
	create time.Duration // the create call
	answer time.Duration // from the begin of the create call to the cell's answer
	end    time.Duration // the call that ends the session
}

// once opens a session, runs one of the two cells, and ends the session.
func (b *bench) once(ctx context.Context, c contender.Contender, code string) (life, error) {
	var l life
	begun := time.Now()
	s, err := c.Open(ctx)
	if err != nil {
		return l, err
	}
	l.create = time.Since(begun)
	out, err := s.Run(ctx, code)
	l.answer = time.Since(begun)
	if err == nil {
		err = right(code, out)
	}
	begun = time.Now()
	err = errors.Join(err, end(ctx, s))
	l.end = time.Since(begun)
	return l, err
}

// right checks the answer of a cell.
func right(code string, out contender.Output) error {
	if code == firstPandas && strings.TrimSpace(out.Text) != "3" {
		return fmt.Errorf("got the answer %.100q, want 3", out.Text)
	}
	if code == firstPlot && !bytes.Contains(out.PNG, []byte("PNG")) {
		return fmt.Errorf("got no picture: %.100q", out.Text)
	}
	return nil
}

// first measures the time to the first answer, one session at a time.
func (b *bench) first(ctx context.Context) error {
	r := b.report
	answer := r.Add(report.Figure{Key: "first", Title: "From the create call to the first answer, pandas usable", Unit: "ms"})
	create := r.Add(report.Figure{Key: "create", Title: "Of that, the create call", Unit: "ms"})
	destroy := r.Add(report.Figure{Key: "destroy", Title: "Destroying a session", Unit: "ms"})
	b.rounds(ctx, b.n.first, b.contenders(ctx, everybody...), func(ctx context.Context, e *entry) error {
		l, err := b.once(ctx, e, firstPandas)
		if err == nil {
			answer.SeriesOf(e.name).Took(l.answer)
			create.SeriesOf(e.name).Took(l.create)
			destroy.SeriesOf(e.name).Took(l.end)
		}
		return err
	}, answer)
	return nil
}

// plot measures the time to the first picture.
func (b *bench) plot(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "plot", Title: "From the create call to the first plot", Unit: "ms"})
	b.rounds(ctx, b.n.plots, b.contenders(ctx, everybody...), func(ctx context.Context, e *entry) error {
		l, err := b.once(ctx, e, firstPlot)
		if err == nil {
			f.SeriesOf(e.name).Took(l.answer)
		}
		return err
	}, f)
	return nil
}
