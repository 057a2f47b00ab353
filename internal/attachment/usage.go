package attachment

import (
	"context"
	"time"

	"cellhold"
)

// measured is the id under which Measure counts the peak. It is no id of a cell.
const measured = cellhold.CellID("measured")

// Measure starts a measurement of the resources that the whole sandbox uses, until the returned function is called. Only
// one measurement runs at a time. Without a control group of the sandbox, the time alone is known.
func (a *Attachment) Measure(ctx context.Context) (end func(context.Context) cellhold.Usage) {
	begun, before := time.Now(), a.cpu(ctx)
	a.peaks.Begin(ctx, measured)
	return func(ctx context.Context) cellhold.Usage {
		u := cellhold.Usage{Wall: time.Since(begun).Seconds(), PeakMemory: a.peaks.End(ctx, measured)}
		if after := a.cpu(ctx); before >= 0 && after >= before {
			used := (after - before).Seconds()
			u.CPU = &used
		}
		return u
	}
}

// cpu returns the CPU time that the sandbox has used, or a negative value if it is unknown.
func (a *Attachment) cpu(ctx context.Context) time.Duration {
	u, err := a.sandbox.Usage(ctx)
	if err != nil {
		return -1
	}
	return u.CPU
}
