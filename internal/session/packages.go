package session

import (
	"context"

	"cellhold"
	"cellhold/internal/packages"
)

// Install installs packages in the session's sandbox. They are there for all its kernels, and gone
// with the sandbox. Installations of one session take turns. A report may come with an error: what
// was changed before it.
func (s *Session) Install(ctx context.Context, r packages.Request) (cellhold.Installation, error) {
	plan, err := s.m.o.Packages.Plan(r)
	return s.carryOut(ctx, s.ctx, plan, err)
}

// carryOut installs what a plan names, unless the life ends before. What the plan was refused for does not matter
// where all is there already.
func (s *Session) carryOut(ctx, life context.Context, plan packages.Plan, refusal error) (cellhold.Installation, error) {
	p := s.m.o.Packages
	kind := cellhold.KindOf(refusal)
	if refusal != nil && (kind != cellhold.Denied && kind != cellhold.Unavailable || !plan.MayBePresent()) {
		return cellhold.Installation{}, refusal
	}
	return s.changePackages(ctx, life, func(ctx context.Context, g packages.Guest) (cellhold.Installation, []cellhold.Package, error) {
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
	return s.remove(ctx, s.ctx, names)
}

func (s *Session) remove(ctx, life context.Context, names []string) (cellhold.Installation, error) {
	return s.changePackages(ctx, life, func(ctx context.Context, g packages.Guest) (cellhold.Installation, []cellhold.Package, error) {
		report, err := s.m.o.Packages.Remove(ctx, g, names)
		return report, nil, err
	})
}

// changePackages makes one change and records what became of it. The life is what it may take at the most: the
// session's, or that of its sandbox here.
func (s *Session) changePackages(ctx, life context.Context, change func(context.Context, packages.Guest) (cellhold.Installation, []cellhold.Package, error)) (cellhold.Installation, error) {
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
	s.moving.Add(1) // until it is done the session is not idle
	defer s.moving.Add(-1)
	s.touch()
	defer s.touch()
	client := s.client()
	if client == nil {
		return cellhold.Installation{}, cellhold.Errorf(cellhold.Unavailable, "The session's sandbox is gone. Restart its kernel to get a new one.")
	}
	// Half an installation is worth less than a whole one, so the caller's leaving does not end it.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	report, come, err := change(working, client)
	if len(report.Changes) == 0 {
		return report, err
	}
	rec := s.change(func(r *cellhold.Session) {
		if s.place != nil && s.place.client == client { // else they are gone already
			r.Packages = packages.Merge(r.Packages, report.Changes, come)
		}
	})
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
