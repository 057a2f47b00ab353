package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

//go:embed inside/charts.py
var drawing string

// pictures are the charts that inside/charts.py draws as SVG and PNG, if there are figures for them.
var pictures = []report.Chart{
	{File: "first.svg", Title: "From the create call to the first answer with pandas"},
	{File: "cell.svg", Title: "Round trip of 1+1"},
	{File: "burst.svg", Title: "A burst of creates, in the order of their answers"},
	{File: "memory.svg", Title: "Where the memory of an idle session is"},
}

// charts draws the charts in a session of cellhold, and returns those that exist.
func (b *bench) charts(ctx context.Context) []report.Chart {
	if ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	names := []string{report.Warm, report.Restore, report.Cold}
	for _, e := range b.entries {
		if e.ready && slices.Contains(names, e.name) {
			names = []string{e.name} // do not start another contender for the charts
		}
	}
	server, err := b.one(ctx, names...)
	if err != nil {
		return nil
	}
	begun := time.Now()
	charts, err := b.draw(ctx, server)
	if err != nil {
		b.say("no charts: %v", err)
		return charts
	}
	b.say("a session of cellhold drew the charts in %.1f s", time.Since(begun).Seconds())
	return charts
}

func (b *bench) draw(ctx context.Context, server *contender.Cellhold) ([]report.Chart, error) {
	s, err := server.OpenOne(ctx)
	if err != nil {
		return nil, err
	}
	defer end(ctx, s)
	var results bytes.Buffer
	if err := b.report.WriteJSON(&results); err != nil {
		return nil, err
	}
	if _, err := server.WriteFile(ctx, s.ID, "results.json", &results, 0o644); err != nil {
		return nil, err
	}
	if out, err := s.Run(ctx, drawing); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out.Text)
	}
	var charts []report.Chart
	for _, c := range pictures {
		drawn := true
		for _, name := range []string{c.File, strings.TrimSuffix(c.File, ".svg") + ".png"} {
			drawn = b.fetch(ctx, server, s, name) == nil && drawn
		}
		if drawn {
			charts = append(charts, c)
		}
	}
	return charts, nil
}

// fetch copies a file of a session to the report.
func (b *bench) fetch(ctx context.Context, server *contender.Cellhold, s *contender.CellholdSession, name string) error {
	from, err := server.ReadFile(ctx, s.ID, name)
	if err != nil {
		return err
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, 16<<20))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.o.out, name), text, 0o644)
}
