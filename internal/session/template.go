package session

import (
	"context"
	"fmt"
	"slices"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages"
	"cellhold/internal/sandbox"
)

// Templates are recipes of sessions that start fast. Without them, and whenever they have nothing to
// continue from, sessions start cold: slower, and the same otherwise.
type Templates interface {
	// Find returns the template of that name, or a cellhold.NotFound error that says which there are;
	// without a name the default one, the zero value if there is none.
	Find(name string) (cellhold.Template, error)
	// List describes all templates, the default one first.
	List() []cellhold.Template
	// Start says which snapshot a sandbox of that template can continue from, and what was installed in
	// it; empty when it must start cold. The driver makes what continues from it unlike all others.
	Start(name string, s sandbox.Spec, out bool) (from string, installed []cellhold.Package)
	// Met returns a connection to the agent of a sandbox that continues from such a snapshot, and who that
	// agent is, if it has been spoken to; nil otherwise. It is the caller's from then on.
	PrimedClient(id sandbox.ID) (*guest.Client, guestapi.Info)
	// Failed is told that a sandbox could not continue from that snapshot, or was of no use.
	Failed(from string, err error)
}

// Templates describes the templates that sessions can be made from, the default one first.
func (m *Manager) Templates() []cellhold.Template {
	if m.o.Templates == nil {
		return []cellhold.Template{}
	}
	return m.o.Templates.List()
}

// checkTemplates refuses templates whose sessions would all be refused.
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

// fromTemplate fills in what a request leaves to its template. Who names none, nor an image of another
// one, gets the default template.
func (o *Options) fromTemplate(r CreateRequest) (CreateRequest, error) {
	if o.Templates == nil {
		if r.Template != "" {
			return r, cellhold.Errorf(cellhold.NotFound, "There is no template %.100q; this server has none.", r.Template)
		}
		return r, nil
	}
	t, err := o.Templates.Find(r.Template)
	if err != nil || t.Name == "" || r.Template == "" && r.Image != "" && r.Image != t.Image {
		return r, err
	}
	r.Template = t.Name
	if r.Image == "" {
		r.Image = t.Image
	}
	r.Limits = orDefault(r.Limits, t.Limits)
	if r.Egress == nil {
		r.Egress = &t.Egress
	}
	return r, nil
}

// origin says what the session's sandbox can continue from, and what was installed there; empty when it
// must start cold.
func (s *Session) origin(rec cellhold.Session) (from string, installed []cellhold.Package) {
	first := s.m.o.firstKernel()[0]
	switch {
	case s.m.o.Templates == nil || rec.Template == "":
		return "", nil
	case len(rec.Secrets) > 0: // their placeholders are in the environment that a kernel starts with
		return "", nil
	case rec.Kernels[0].ID != first.ID || rec.Kernels[0].Spec != first.Spec:
		return "", nil
	}
	policy, err := egress.NewPolicy(rec.Egress)
	if err != nil {
		return "", nil
	}
	return s.m.o.Templates.Start(rec.Template, s.spec(rec), !policy.None())
}

// open gives the session a sandbox and its kernels, and returns when they are idle. When it fails nothing
// of the sandbox is left.
func (s *Session) open(ctx context.Context) error {
	rec := s.record()
	if from, installed := s.origin(rec); from != "" {
		err := s.openFrom(ctx, rec, from)
		if err == nil {
			s.change(func(r *cellhold.Session) { r.Packages = installed })
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		s.slog.Warn("starting cold", "snapshot", from, "err", err)
		s.m.o.Templates.Failed(from, err)
	}
	if err := s.openFrom(ctx, rec, ""); err != nil {
		return err
	}
	if err := s.furnish(ctx, rec); err != nil {
		s.close(ctx)
		return err
	}
	return nil
}

// greet connects to the agent of a sandbox and asks who it is. One that was primed for its next session has
// been asked already.
func (s *Session) greet(ctx context.Context, sb sandbox.Sandbox, renew bool) (*guest.Client, guestapi.Info, error) {
	if s.m.o.Templates != nil {
		if client, info := s.m.o.Templates.PrimedClient(sb.ID()); client != nil {
			return client, info, nil
		}
	}
	client, err := guest.New(guest.Options{Dial: sb.Dial, Logger: s.slog})
	if err != nil {
		return nil, guestapi.Info{}, err
	}
	asking, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	var info guestapi.Info
	if renew {
		info, err = client.Renew(asking, guestapi.Renew{Timeout: renewTimeout})
	} else {
		info, err = client.Info(asking)
	}
	if err != nil {
		client.Close()
		return nil, info, fmt.Errorf("asking the agent who it is: %w", err)
	}
	return client, info, nil
}

// furnish installs the packages of the session's template in a sandbox that has started cold.
func (s *Session) furnish(ctx context.Context, rec cellhold.Session) error {
	if s.m.o.Templates == nil || rec.Template == "" {
		return nil
	}
	t, err := s.m.o.Templates.Find(rec.Template)
	if err != nil || len(t.Packages) == 0 {
		return nil // a template that is gone has nothing to say any more
	}
	plan, err := s.m.o.Packages.Plan(packages.Request{Requirements: t.Packages})
	if err != nil {
		return err
	}
	report, come, err := s.m.o.Packages.Install(ctx, s.client(), plan)
	if err != nil {
		return err
	}
	lock, err := packages.Merge(nil, report.Changes, come)
	s.change(func(r *cellhold.Session) { r.Packages = lock })
	return err
}

// startKernels starts those of the session's kernels that the agent does not have yet. One that was there
// before the session only gets its startup code.
func (s *Session) startKernels(ctx context.Context, rec cellhold.Session, known []cellhold.KernelID) error {
	for i, k := range rec.Kernels {
		start := startOf(rec, i)
		err := error(nil)
		if !slices.Contains(known, k.ID) {
			err = s.kernel(k.ID).Start(ctx, start)
		} else if start.Startup != "" {
			err = s.prepare(ctx, k.ID, start.Startup)
		}
		if err != nil {
			return fmt.Errorf("starting the kernel %s: %w", k.ID, err)
		}
	}
	return nil
}

// prepare runs the startup code in a kernel that was started before the session. That it raises is told as
// after any other start.
func (s *Session) prepare(ctx context.Context, id cellhold.KernelID, startup string) error {
	done, err := s.client().Kernel(id).Prepare(ctx, guestapi.Prepare{Code: startup, Timeout: s.m.o.StartTimeout, Startup: true})
	if err != nil || done.Error == "" {
		return err
	}
	return s.log.Append(ctx, []cellhold.Event{cellhold.NewEvent(cellhold.EventKernelState, id, "",
		cellhold.KernelStateContent{State: cellhold.KernelIdle, Detail: "startup code failed: " + done.Error})})
}
