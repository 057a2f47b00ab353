package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/peaks"
	"cellhold/internal/session/shelf"
)

// Resume wakes a session that sleeps. One that is awake is no error.
func (s *Session) Resume(ctx context.Context) error {
	release, err := s.awake(ctx)
	if err != nil {
		return err
	}
	release()
	return nil
}

// resume is Resume for who holds the life of a hibernated session. It goes on when the caller goes away:
// others wait for it too.
func (s *Session) resume(ctx context.Context) error {
	free, err := s.m.reserveAwake()
	if err != nil {
		return err
	}
	defer free()
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.m.o.StartTimeout, errStartTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	begun := time.Now()
	err = s.comeBack(ctx)
	switch {
	case err == nil:
		s.slog.Info("session resumed", "sandbox", s.record().Sandbox, "took", time.Since(begun))
		return nil
	case errors.Is(err, sandbox.ErrSnapshot):
		s.slog.Error("a session cannot be resumed", "err", err)
		return cellhold.Wrap(cellhold.Conflict, err,
			"The session cannot be resumed from its saved state: %s. Restart a kernel to go on in a new sandbox: variables and all files but the output files are lost; "+
				"the events, the notebook and the output files are kept.", shelf.Why(err))
	}
	s.slog.Error("resuming a session", "err", err)
	if errors.Is(context.Cause(ctx), errStartTimeout) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The session did not resume within %s, and is still hibernated. The host may be overloaded; try again.", s.m.o.StartTimeout)
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be resumed, and is still hibernated. Try again.")
}

// comeBack lets the session go on from its saved state. Until the record says ready the session is
// hibernated, and a death of the server leaves only a sandbox to be reaped; from then on the saved state
// is what is to be removed.
func (s *Session) comeBack(ctx context.Context) error {
	rec := s.record()
	p, err := s.goOn(ctx, rec, rec.Snapshot, arrival{kernels: rec.Kernels, before: s.followed()})
	if err != nil {
		return err
	}
	if !s.recognised {
		if err := s.mirror.Recognise(ctx, p.client); err != nil {
			s.slog.Warn("recognising output files", "err", err) // they are copied again
		}
		s.recognised = true
	}
	ev := cellhold.NewEvent(cellhold.EventSessionResumed, "", "", cellhold.SessionResumedContent{})
	err = s.turn(ctx, ev, func(r *cellhold.Session, _ int64) { ready(r, p.sandbox.ID()) })
	if err != nil {
		p.quit()
		s.m.destroy(ctx, p.sandbox)
		return err
	}
	s.seatAll(p)
	s.m.nudge()
	s.wg.Go(func() { s.m.dropSnapshot(s.ctx, rec.Snapshot) })
	return nil
}

// startAnew gives a session whose saved state is of no use a new sandbox.
func (s *Session) startAnew(ctx context.Context) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	rec := s.record()
	if rec.State != cellhold.SessionHibernated {
		return cellhold.Errorf(cellhold.Conflict, "The session was used meanwhile. Try again.")
	}
	free, err := s.m.reserveAwake()
	if err != nil {
		return err
	}
	defer free()
	ctx, cancel := context.WithTimeoutCause(ctx, s.m.o.StartTimeout, errStartTimeout)
	defer cancel()
	if err := s.reopen(ctx); err != nil {
		return err
	}
	ev := cellhold.NewEvent(cellhold.EventSessionResumed, "", "", cellhold.SessionResumedContent{})
	in := sandbox.ID(s.record().Sandbox)
	if err := s.turn(ctx, ev, func(r *cellhold.Session, _ int64) { ready(r, in) }); err != nil {
		s.close(ctx)
		return err
	}
	s.m.dropSnapshot(ctx, rec.Snapshot)
	return nil
}

// ready makes a record that of a session that lives in that sandbox.
func ready(r *cellhold.Session, id sandbox.ID) {
	r.State, r.Snapshot, r.Boot = cellhold.SessionReady, "", ""
	r.Sandbox, r.Used = string(id), time.Now().UTC()
}

// goOn makes the session's next sandbox go on from a saved state. Nothing of it runs here yet. When it
// fails, nothing of the sandbox is left.
func (s *Session) goOn(ctx context.Context, rec cellhold.Session, snapshot string, a arrival) (*place, error) {
	if err := s.findRootfs(rec); err != nil {
		return nil, err
	}
	rec.Sandbox = nextSandboxID(rec.ID, rec.Sandbox)
	spec := s.spec(rec)
	spec.From, spec.Often = snapshot, shelf.IsOfForks(snapshot)
	sb, err := s.m.o.Driver.Create(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", rec.Sandbox, err)
	}
	p, err := s.arrive(ctx, sb, a)
	if cellhold.KindOf(err) == cellhold.Unsupported {
		err = &sandbox.SnapshotError{Reason: "the agent in it is of a version that this server does not speak", Err: err}
	}
	if err == nil {
		if err = s.letOutOf(ctx, p); err == nil {
			return p, nil
		}
		p.quit()
	}
	s.m.destroy(ctx, sb)
	return nil, err
}

// findRootfs looks for the files of the image that the session was made from, by what it was and not by
// its name, which may be another image's by now.
func (s *Session) findRootfs(rec cellhold.Session) error {
	img, err := s.m.o.Images.Resolve(rec.Digest)
	if err != nil {
		if img, err = s.m.o.Images.Resolve(rec.Image); err != nil {
			return err
		}
	}
	s.rootfs = img.Rootfs
	return nil
}

// arrival says how a sandbox is arrived at.
type arrival struct {
	kernels []cellhold.Kernel
	pending []cellhold.Cell                      // those that an earlier server left
	before  map[cellhold.KernelID]*kernel.Kernel // who followed the kernels before
	renew   bool                                 // it is one of several that go on from the same
}

// arrive connects to the agent of a sandbox. Nothing of it runs here before seatAll.
func (s *Session) arrive(ctx context.Context, sb sandbox.Sandbox, a arrival) (*place, error) {
	client, info, err := s.greet(ctx, sb, a.renew)
	if err != nil {
		return nil, err
	}
	p := &place{sandbox: sb, client: client, peaks: peaks.New(sb), over: make(chan struct{})}
	p.run, p.cancel = context.WithCancel(s.ctx)
	if err := s.meet(ctx, p, info, a); err != nil {
		p.quit()
		return nil, err
	}
	return p, nil
}

// meet makes what follows the kernels and commands of an agent.
func (s *Session) meet(ctx context.Context, p *place, info guestapi.Info, a arrival) (err error) {
	p.boot = info.Boot
	for _, k := range info.Kernels {
		p.known = append(p.known, k.ID)
	}
	for _, k := range a.kernels {
		o := s.kernelOptions(p, k.ID, of(a.pending, k.ID))
		o.Before = a.before[k.ID]
		follower, err := kernel.New(ctx, o)
		if err != nil {
			return err
		}
		p.kernels = append(p.kernels, follower)
	}
	p.commands, err = s.newCommands(ctx, p, info)
	return err
}

// renewTimeout bounds the renewal of one kernel: it runs a few lines.
const renewTimeout = 15 * time.Second

// seatAll lets everything of a place run here, and makes it the session's.
func (s *Session) seatAll(p *place) {
	s.mu.Lock()
	s.place, s.kernels, s.commands = p, map[cellhold.KernelID]*running{}, p.commands
	for _, k := range p.kernels {
		s.kernels[k.State().ID] = p.serve(p.run, k)
	}
	s.mu.Unlock()
	p.wg.Go(func() { p.commands.Run(p.run) })
	s.wg.Go(func() { s.watch(p.run, p) })
}

// quit ends what runs here for a place.
func (p *place) quit() {
	p.cancel()
	p.wg.Wait()
	p.client.Close()
}
