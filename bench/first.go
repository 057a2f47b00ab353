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

// allContenders lists the contenders whose new sessions are measured.
var allContenders = []string{report.Warm, report.Restore, report.Cold, report.Bare, report.Article, report.Gateway, report.LLM}

// sessionTimes holds the durations of one session that runs one cell.
type sessionTimes struct {
	create time.Duration // the create call
	answer time.Duration // from the start of the create call to the cell's answer
	end    time.Duration // the call that ends the session
}

// runSession opens a session, runs firstPandas or firstPlot, and ends the session.
func (b *bench) runSession(ctx context.Context, c contender.Contender, code string) (sessionTimes, error) {
	var t sessionTimes
	begun := time.Now()
	s, err := c.Open(ctx)
	if err != nil {
		return t, err
	}
	t.create = time.Since(begun)
	out, err := s.Run(ctx, code)
	t.answer = time.Since(begun)
	if err == nil {
		err = checkAnswer(code, out)
	}
	begun = time.Now()
	err = errors.Join(err, end(ctx, s))
	t.end = time.Since(begun)
	return t, err
}

// checkAnswer returns an error if the output of a cell is wrong.
func checkAnswer(code string, out contender.Output) error {
	if code == firstPandas && strings.TrimSpace(out.Text) != "3" {
		return fmt.Errorf("got the answer %.100q, want 3", out.Text)
	}
	if code == firstPlot && !bytes.Contains(out.PNG, []byte("PNG")) {
		return fmt.Errorf("got no PNG, but the text %.100q", out.Text)
	}
	return nil
}

// first measures the create call, the first answer and the end of a session. Only one session exists at a time.
func (b *bench) first(ctx context.Context) error {
	r := b.report
	answer := r.Add(report.Figure{Key: "first", Title: "From the create call to the first answer with pandas", Unit: "ms"})
	create := r.Add(report.Figure{Key: "create", Title: "The create call", Unit: "ms"})
	destroy := r.Add(report.Figure{Key: "destroy", Title: "Destroying a session", Unit: "ms"})
	b.rounds(ctx, b.n.first, b.contenders(ctx, allContenders...), func(ctx context.Context, e *entry) error {
		t, err := b.runSession(ctx, e, firstPandas)
		if err == nil {
			answer.SeriesOf(e.name).Took(t.answer)
			create.SeriesOf(e.name).Took(t.create)
			destroy.SeriesOf(e.name).Took(t.end)
		}
		return err
	}, answer)
	return nil
}

// plot measures the time to the first plot.
func (b *bench) plot(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "plot", Title: "From the create call to the first plot", Unit: "ms"})
	b.rounds(ctx, b.n.plots, b.contenders(ctx, allContenders...), func(ctx context.Context, e *entry) error {
		t, err := b.runSession(ctx, e, firstPlot)
		if err == nil {
			f.SeriesOf(e.name).Took(t.answer)
		}
		return err
	}, f)
	return nil
}
