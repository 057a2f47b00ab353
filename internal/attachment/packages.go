package attachment

import (
	"cmp"
	"context"
	"time"

	"cellhold"
	"cellhold/internal/packages"
)

// recordTimeout limits the recording of changed packages.
const recordTimeout = 30 * time.Second

// Install installs packages in the sandbox, for all its kernels. Only one installation runs at a time. After an
// error, the report can have the changes before the error.
func (a *Attachment) Install(ctx context.Context, r packages.Request) (cellhold.Installation, error) {
	plan, err := a.o.Packages.Plan(r)
	return a.carryOut(ctx, plan, err, false)
}

// RemovePackages removes packages by name.
func (a *Attachment) RemovePackages(ctx context.Context, names []string) (cellhold.Installation, error) {
	return a.remove(ctx, names, false)
}

// carryOut installs the packages of a plan. A refused plan is not an error if all its packages are installed
// already.
func (a *Attachment) carryOut(ctx context.Context, plan packages.Plan, refusal error, byCode bool) (cellhold.Installation, error) {
	p := a.o.Packages
	switch kind := cellhold.KindOf(refusal); {
	case refusal == nil:
	case kind != cellhold.Denied && kind != cellhold.Unavailable && kind != cellhold.Exhausted, !plan.MayBePresent():
		return cellhold.Installation{}, refusal
	}
	return a.changePackages(ctx, byCode, func(ctx context.Context) (cellhold.Installation, []cellhold.Package, error) {
		if refusal == nil {
			return p.Install(ctx, a.client, plan)
		}
		if report, all := p.Present(ctx, a.client, plan); all {
			return report, nil, nil
		}
		return cellhold.Installation{}, nil, refusal
	})
}

func (a *Attachment) remove(ctx context.Context, names []string, byCode bool) (cellhold.Installation, error) {
	return a.changePackages(ctx, byCode, func(ctx context.Context) (cellhold.Installation, []cellhold.Package, error) {
		report, err := a.o.Packages.Remove(ctx, a.client, names)
		return report, nil, err
	})
}

// changePackages makes one change and records it. While a caller waits for the change, the session is not
// idle. A change that code requests does not count as use, so that repeated requests do not keep the session from
// expiring. The cell or the command of the code, and its CPU time, count.
func (a *Attachment) changePackages(ctx context.Context, byCode bool, change func(context.Context) (cellhold.Installation, []cellhold.Package, error)) (cellhold.Installation, error) {
	select {
	case a.installing <- struct{}{}:
		defer func() { <-a.installing }()
	case <-ctx.Done():
		return cellhold.Installation{}, ctx.Err()
	}
	if !byCode {
		a.moving.Add(1)
		defer a.moving.Add(-1)
		a.changed()
		defer a.changed()
	}
	// The change continues if the caller disconnects, because an incomplete installation is worse than a
	// complete one.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	report, locked, err := change(working)
	if len(report.Changes) == 0 || a.o.Installed == nil {
		return report, err
	}
	recording, done := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer done()
	err = cmp.Or(err, a.o.Installed(recording, a, report.Changes, locked))
	a.o.Logger.Info("packages changed", "count", len(report.Changes))
	return report, err
}
