package main

import (
	"context"
	"fmt"

	"cellhold/bench/report"
)

// crowd opens many sessions and measures the memory of the machine, of the sandboxes and of the server.
func (b *bench) crowd(ctx context.Context) error {
	n := b.n.crowd
	f := b.report.Add(report.Figure{Key: "crowd", Title: fmt.Sprintf("Memory with %d sessions that have used pandas", n), Unit: "MB"})
	if err := roomFor(n); err != nil {
		f.LeftOut = err.Error()
		return nil
	}
	for _, name := range []string{report.Restore, report.Cold} {
		if who := b.contenders(ctx, name); len(who) == 1 {
			return b.crowdOf(ctx, who[0], f)
		}
	}
	return nil
}

func (b *bench) crowdOf(ctx context.Context, e *entry, f *report.Figure) error {
	server, err := b.one(ctx, e.name)
	if err != nil {
		return err
	}
	f.Note = "Sessions of " + e.name + "."
	free := available()
	sessions, err := openUsed(ctx, e, b.n.crowd)
	defer endAll(ctx, sessions)
	if err != nil {
		return err
	}
	f.SeriesOf("the machine's MemAvailable fell by").Put(mbOf(free - available()))
	cgroups, err := sandboxCgroups(server)
	if err != nil {
		return err
	}
	sum := 0.0
	for _, dir := range cgroups {
		parts, err := cgroupMemory(dir)
		if err != nil {
			return err
		}
		sum += parts[partTotal]
	}
	f.SeriesOf("all sandboxes, by their control groups").Put(sum)
	f.SeriesOf("the server").Put(mbOf(resident(server.Pid, "VmRSS:")))
	return nil
}

// resident returns a process's memory in bytes: VmRSS is the current value, and VmHWM the peak since forgetPeak.
func resident(pid int, field string) int64 { return procField(pid, field) << 10 }
