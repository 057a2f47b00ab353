package main

import (
	"context"
	"time"

	"cellhold/bench/contender"
	"cellhold/bench/report"
)

// apis measures the round trip of `1+1` over each API of one server, and that of the Jupyter Kernel Gateway.
func (b *bench) apis(ctx context.Context) error {
	f := b.report.Add(report.Figure{Key: "apis", Title: "Round trip of `1+1` over each API", Unit: "ms"})
	server, err := b.one(ctx, report.Restore, report.Warm, report.Cold)
	if err != nil {
		return err
	}
	var all []timed
	for _, api := range []struct {
		name string
		open func(context.Context) (contender.Session, error)
	}{{report.V1, server.Open}, {report.MCP, server.OpenMCP}, {report.E2B, server.OpenE2B}, {report.Jupyter, server.OpenJupyter}} {
		s, err := api.open(ctx)
		if err != nil {
			f.SeriesOf(api.name).Fail(err)
			continue
		}
		defer func() {
			if err := end(ctx, s); err != nil {
				b.say("cannot end a session: %v", err)
			}
		}()
		all = append(all, timed{api.name, func(ctx context.Context) ([]time.Duration, error) { return s.Time(ctx, "1+1", block) }})
	}
	others, closeAll := b.sessionsOf(ctx, f, report.Gateway)
	defer closeAll()
	all = append(all, others...)
	for _, t := range all {
		f.SeriesOf(t.name)
	}
	b.blocks(ctx, all, f)
	return nil
}
