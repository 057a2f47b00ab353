package session

import (
	"cmp"
	"context"

	"cellhold"
	"cellhold/internal/packages"
)

// Install installs packages in the session's sandbox. They are there for all its kernels, and gone
// with the sandbox. Installations of one session take turns. A report may come with an error: what
// was changed before it.
func (s *Session) Install(ctx context.Context, r packages.Request) (cellhold.Installation, error) {
	plan, err := s.m.o.Packages.Plan(r)
	return s.carryOut(ctx, caller{life: s.ctx}, plan, err)
}

// caller is who changes packages.
type caller struct {
	life context.Context // what the change may take at most: the session's, or that of its sandbox here
	code bool            // code in the session; what it does there is no use of the session
}

// carryOut installs what a plan names, unless the caller's life ends before. What the plan was refused for does not
// matter where all is there already.
func (s *Session) carryOut(ctx context.Context, by caller, plan packages.Plan, refusal error) (cellhold.Installation, error) {
	p := s.m.o.Packages
	switch kind := cellhold.KindOf(refusal); {
	case refusal == nil:
	case kind != cellhold.Denied && kind != cellhold.Unavailable && kind != cellhold.Exhausted, !plan.MayBePresent():
		return cellhold.Installation{}, refusal
	}
	return s.changePackages(ctx, by, func(ctx context.Context, g packages.Guest) (cellhold.Installation, []cellhold.Package, error) {
		if refusal == nil {
			return p.Install(ctx, g, plan)
		}
		if report, all := p.Present(ctx, g, plan); all {
			return report, nil, nil
		}
		return cellhold.Installation{}, nil, refusal
	})
}

// RemovePackages removes packages by their names.
func (s *Session) RemovePackages(ctx context.Context, names []string) (cellhold.Installation, error) {
	return s.remove(ctx, caller{life: s.ctx}, names)
}

func (s *Session) remove(ctx context.Context, by caller, names []string) (cellhold.Installation, error) {
	return s.changePackages(ctx, by, func(ctx context.Context, g packages.Guest) (cellhold.Installation, []cellhold.Package, error) {
		report, err := s.m.o.Packages.Remove(ctx, g, names)
		return report, nil, err
	})
}

// changePackages makes one change and records what became of it. While a caller waits for it the session is not idle.
// Code that asks again and again must not keep its session alive: the cell or the command that it belongs to does,
// and so does the processor time that it takes.
func (s *Session) changePackages(ctx context.Context, by caller, change func(context.Context, packages.Guest) (cellhold.Installation, []cellhold.Package, error)) (cellhold.Installation, error) {
	select {
	case s.installing <- struct{}{}:
		defer func() { <-s.installing }()
	case <-ctx.Done():
		return cellhold.Installation{}, ctx.Err()
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return cellhold.Installation{}, err
	}
	defer leave()
	if !by.code {
		s.moving.Add(1) // until it is done the session is not idle
		defer s.moving.Add(-1)
		s.touch()
		defer s.touch()
	}
	client := s.client()
	if client == nil {
		return cellhold.Installation{}, cellhold.Errorf(cellhold.Unavailable, "The session's sandbox is gone. Restart its kernel to get a new one.")
	}
	// Half an installation is worth less than a whole one, so the caller's leaving does not end it.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(by.life, cancel)()
	report, come, err := change(working, client)
	if len(report.Changes) == 0 {
		return report, err
	}
	var full error
	rec := s.change(func(r *cellhold.Session) {
		if s.place != nil && s.place.client == client { // else they are gone already
			r.Packages, full = packages.Merge(r.Packages, report.Changes, come)
		}
	})
	if full != nil {
		s.slog.Warn("the lock of a session is full", "err", full)
		err = cmp.Or(err, full)
	}
	clean, done := cleanup(ctx)
	defer done()
	if e := s.m.o.Store.PutSession(clean, rec); e != nil && err == nil {
		err = cellhold.Wrap(cellhold.Unavailable, e, "The packages were installed, but that could not be recorded. Is the server's disk full?")
	}
	s.slog.Info("packages changed", "count", len(report.Changes))
	return report, err
}

// PackagesLock is what was installed in the session, as a requirements file with hashes.
func (s *Session) PackagesLock() string { return packages.Lock(s.record().Packages) }
