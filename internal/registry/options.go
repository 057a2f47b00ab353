package registry

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/session/paths"
)

// DefaultKernel is the default kernelspec of sessions.
const DefaultKernel = "python3"

// ErrSettings says that the operator's settings do not allow a session, or contradict each other.
var ErrSettings = errors.New("settings")

// The defaults. A checkpoint needs about as much disk as its session uses memory. The maximum upload is far
// above the usual disk limit of a session.
const (
	defaultMaxSessions    = 64
	defaultMaxCheckpoints = 8
	defaultMaxSnapshots   = 32 << 30
	defaultMaxUpload      = 16 << 30
)

// setDefaults replaces zero values with their defaults.
func (o *Options) setDefaults() {
	fill(&o.Notebooks, paths.Notebooks(o.Home))
	fill(&o.Outputs, paths.Outputs(o.Home))
	fill(&o.MaxSessions, defaultMaxSessions)
	fill(&o.MaxHibernated, hibernatedPerRunning*o.MaxSessions)
	fill(&o.MaxSessionsPerOwner, o.MaxSessions+o.MaxHibernated)
	fill(&o.MaxCheckpoints, defaultMaxCheckpoints)
	fill(&o.MaxSnapshots, defaultMaxSnapshots)
	fill(&o.Kernel, DefaultKernel)
	fill(&o.MaxUpload, defaultMaxUpload)
	fill(&o.IdleTimeout, time.Hour)
	fill(&o.CellTimeout, 5*time.Minute)
	fill(&o.MaxCellTimeout, 24*time.Hour)
	fill(&o.StartTimeout, 90*time.Second)
	fill(&o.Retention, 24*time.Hour)
	o.Ceiling = orDefault(o.Ceiling, o.Limits)
}

// check refuses settings that would make every session or cell fail.
func (o *Options) check() error {
	if _, err := o.limits(cellhold.Limits{}); err != nil {
		return fmt.Errorf("%w: %w", ErrSettings, err)
	}
	if err := o.checkTemplates(); err != nil {
		return fmt.Errorf("%w: %w", ErrSettings, err)
	}
	for _, x := range []struct {
		name       string
		got, least int64
	}{
		{"max-upload", o.MaxUpload, 0}, {"max-sessions", int64(o.MaxSessions), 1}, {"max-hibernated", int64(o.MaxHibernated), 0},
		{"max-checkpoints", int64(o.MaxCheckpoints), 0}, {"max-snapshots", o.MaxSnapshots, 0},
		{"max-sessions-per-token", int64(o.MaxSessionsPerOwner), 1}, {"max-creates-per-minute", int64(o.CreatesPerMinute), 0},
	} {
		if x.got < x.least {
			return fmt.Errorf("%w: %s must be at least %d (got %d)", ErrSettings, x.name, x.least, x.got)
		}
	}
	for _, x := range []struct {
		name string
		got  time.Duration
	}{
		{"idle-timeout", o.IdleTimeout}, {"hibernate-after", o.HibernateAfter}, {"cell-timeout", o.CellTimeout}, {"max-cell-timeout", o.MaxCellTimeout},
		{"start-timeout", o.StartTimeout}, {"retention", o.Retention}, {"max-age", o.MaxAge},
	} {
		if x.got < 0 {
			return fmt.Errorf("%w: %s must not be negative (got %s)", ErrSettings, x.name, x.got)
		}
	}
	if o.CellTimeout > o.MaxCellTimeout {
		return fmt.Errorf("%w: cell-timeout (%s) must not be longer than max-cell-timeout (%s)", ErrSettings, o.CellTimeout, o.MaxCellTimeout)
	}
	return nil
}

// checkTemplates refuses a template whose limits or network access the server does not allow.
func (o *Options) checkTemplates() error {
	if o.Templates == nil {
		return nil
	}
	for _, t := range o.Templates.List() {
		if _, err := o.limits(t.Limits); err != nil {
			return fmt.Errorf("template %s: %w", t.Name, err)
		}
		policy, err := egress.NewPolicy(t.Egress)
		if err == nil {
			err = policy.Within(o.Egress.Ceiling)
		}
		if err != nil {
			return fmt.Errorf("template %s: %w", t.Name, err)
		}
	}
	return nil
}

// least has the minimum of each limit with which a kernel can start and run a cell.
var least = cellhold.Limits{Memory: 96 << 20, CPU: 0.05, Processes: 32, Disk: 1 << 20, Tmp: 1 << 20, Output: 4 << 10}

// limits completes the requested limits with the defaults. If the server does not allow them, it returns an error.
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
		if x.most < x.least { // a mistake in the operator's settings
			return l, cellhold.Errorf(cellhold.Invalid, "The server's maximum for %s is %s, but a session needs %s. The operator must raise it.",
				x.name, number(x.most), number(x.least))
		}
		if !(x.got >= x.least && x.got <= x.most) { // the negation also refuses NaN
			return l, cellhold.Errorf(cellhold.Invalid, "Invalid limit %s %s: use %s to %s on this server, or 0 for the default.",
				x.name, number(x.got), number(x.least), number(x.most))
		}
	}
	return l, nil
}

// number returns a number without an exponent.
func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// orDefault replaces the zero fields of l with those of d.
func orDefault(l, d cellhold.Limits) cellhold.Limits {
	fill(&l.Memory, d.Memory)
	fill(&l.CPU, d.CPU)
	fill(&l.Processes, d.Processes)
	fill(&l.Disk, d.Disk)
	fill(&l.Tmp, d.Tmp)
	fill(&l.Output, d.Output)
	return l
}

// fill replaces a zero value with its default.
func fill[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Home returns the state directory.
func (r *Registry) Home() string { return r.o.Home }

// MaxSessions returns the maximum number of sessions with a sandbox.
func (r *Registry) MaxSessions() int { return r.o.MaxSessions }

// Network reports whether the operator's policy lets sessions reach hosts.
func (r *Registry) Network() bool {
	policy := r.o.Egress.Ceiling.Egress().Policy
	return policy != "" && policy != cellhold.EgressNone
}
