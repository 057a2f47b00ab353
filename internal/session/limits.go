package session

import (
	"strconv"

	"cellhold"
	"cellhold/internal/sandbox"
)

// least is the least of each limit with which a kernel can start and run a cell.
var least = cellhold.Limits{Memory: 96 << 20, CPU: 0.05, Processes: 32, Disk: 1 << 20, Tmp: 1 << 20, Output: 4 << 10}

// limits returns what a session gets that asked for want.
func (o *Options) limits(want cellhold.Limits) (cellhold.Limits, error) {
	l := orDefault(want, o.Limits)
	for _, x := range []struct {
		name             string
		got, least, most float64
	}{
		{"memory", float64(l.Memory), float64(least.Memory), float64(o.Ceiling.Memory)},
		{"cpu", l.CPU, least.CPU, o.Ceiling.CPU},
		{"processes", float64(l.Processes), float64(least.Processes), float64(o.Ceiling.Processes)},
		{"disk", float64(l.Disk), float64(least.Disk), float64(o.Ceiling.Disk)},
		{"tmp", float64(l.Tmp), float64(least.Tmp), float64(o.Ceiling.Tmp)},
		{"output", float64(l.Output), float64(least.Output), float64(o.Ceiling.Output)},
	} {
		if x.most < x.least { // the operator's doing
			return l, cellhold.Errorf(cellhold.Invalid, "The limit %s of this server, %s, is less than what a session needs: %s.",
				x.name, number(x.most), number(x.least))
		}
		if !(x.got >= x.least && x.got <= x.most) { // in this form it refuses what is not a number too
			return l, cellhold.Errorf(cellhold.Invalid, "The limit %s must be between %s and %s on this server; 0 means its default.",
				x.name, number(x.least), number(x.most))
		}
	}
	return l, nil
}

// number writes a number without an exponent.
func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// orDefault fills the zero fields of l from d.
func orDefault(l, d cellhold.Limits) cellhold.Limits {
	fill(&l.Memory, d.Memory)
	fill(&l.CPU, d.CPU)
	fill(&l.Processes, d.Processes)
	fill(&l.Disk, d.Disk)
	fill(&l.Tmp, d.Tmp)
	fill(&l.Output, d.Output)
	return l
}

func fill[T int | int64 | float64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// spec is what the driver is asked for.
func (s *Session) spec(r cellhold.Session) sandbox.Spec {
	return sandbox.Spec{
		ID: sandbox.ID(r.Sandbox), Rootfs: s.rootfs, Image: r.Digest, Data: s.m.o.Data,
		Limits: sandbox.Limits{Memory: r.Limits.Memory, CPU: r.Limits.CPU, Processes: r.Limits.Processes,
			Disk: r.Limits.Disk, Tmp: r.Limits.Tmp, Output: r.Limits.Output},
		Labels: map[string]string{sessionLabel: string(r.ID)},
	}
}

// sessionLabel is the label of a sandbox that names its session.
const sessionLabel = "session"
