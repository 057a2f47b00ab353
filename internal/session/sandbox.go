package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/egress"
	"cellhold/internal/packages"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/refold"
	"cellhold/internal/session/snapshots"
	"cellhold/internal/session/states"
)

// sandboxes holds the sandbox of a session, and makes the next one. Callers of methods that make or replace a
// sandbox must hold the turn.
type sandboxes struct {
	s          *Session
	rootfs     string // root file system of the image; guarded by the turn
	filesKnown bool   // the mirror knows which output files of the sandbox it has; guarded by the turn

	mu        sync.Mutex
	live      *live                 // nil if there is no sandbox
	followers *attachment.Followers // the newest followers; nil before the first sandbox
}

// live is the present attachment of a session.
type live struct {
	*attachment.Attachment
	ended bool          // the sandbox ended, and the end is being recorded; guarded by sandboxes.mu
	over  chan struct{} // closed when the end is recorded and the session has no sandbox
}

// Label is the label of a sandbox with its session's id.
const Label = "session"

// current returns the attachment, or nil if the session has no sandbox.
func (b *sandboxes) current() *live {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.live
}

// following returns the followers of the kernels and commands, or nil before the first sandbox.
func (b *sandboxes) following() *attachment.Followers {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.followers
}

// spec returns the sandbox spec for the driver.
func (b *sandboxes) spec(r record.Session) sandbox.Spec {
	return sandbox.Spec{
		ID: sandbox.ID(r.Sandbox), Rootfs: b.rootfs, Image: r.Digest, Data: b.s.env.Data,
		Limits: sandbox.Limits{Memory: r.Limits.Memory, CPU: r.Limits.CPU, Processes: r.Limits.Processes,
			Disk: r.Limits.Disk, Tmp: r.Limits.Tmp, Output: r.Limits.Output},
		Labels: map[string]string{Label: string(r.ID)},
	}
}

// origin returns the snapshot from which the session's sandbox can continue, and its installed packages. It
// returns no snapshot if the sandbox must start cold.
func (b *sandboxes) origin(rec record.Session) (from string, installed []cellhold.Package) {
	first := b.s.env.FirstKernel()[0]
	switch {
	case b.s.env.Templates == nil || rec.Template == "":
		return "", nil
	case (len(rec.Env) > 0 || rec.Dir != "") && first.Spec != attachment.PythonSpec: // only Python can change them in a running kernel
		return "", nil
	case len(rec.Secrets) > 0: // a kernel needs the placeholders of the secrets in its environment when it starts
		return "", nil
	case rec.Kernels[0].ID != first.ID || rec.Kernels[0].Spec != first.Spec:
		return "", nil
	}
	policy, err := egress.NewPolicy(rec.Egress)
	if err != nil {
		return "", nil
	}
	return b.s.env.Templates.Start(rec.Template, b.spec(rec), !policy.None())
}

// open gives the session a sandbox and its kernels, and returns when the kernels are idle. asked is the time at
// which the caller asked for it. After an error open leaves no sandbox behind.
func (b *sandboxes) open(ctx context.Context, asked time.Time) error {
	rec := b.s.Record()
	if from, installed := b.origin(rec); from != "" {
		err := b.openFrom(ctx, rec, from, asked)
		if err == nil {
			b.s.change(func(r *record.Session) { r.Packages = installed })
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		b.s.slog.Warn("starting cold", "snapshot", from, "err", err)
		b.s.env.Templates.Failed(from, err)
	}
	if err := b.openFrom(ctx, rec, "", asked); err != nil {
		return err
	}
	if err := b.installTemplate(ctx, rec); err != nil {
		b.destroy(ctx)
		return err
	}
	return nil
}

// openFrom makes a sandbox that continues from a snapshot, or starts cold if from is empty. After an error it
// leaves no sandbox behind.
func (b *sandboxes) openFrom(ctx context.Context, rec record.Session, from string, asked time.Time) error {
	spec := b.spec(rec)
	spec.From, spec.Asked = from, asked
	sb, err := b.s.env.Driver.Create(ctx, spec)
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", rec.Sandbox, err)
	}
	b.s.change(func(r *record.Session) { r.Sandbox = string(sb.ID()) }) // a warm sandbox has its own id
	l, err := b.connect(ctx, sb, attachment.Request{Kernels: rec.Kernels})
	if err != nil {
		b.s.env.Registry.Destroy(ctx, sb)
		return err
	}
	b.attach(l)
	if err := b.setUp(ctx, l, rec); err != nil {
		b.destroy(ctx)
		clean, cancel := cleanup(ctx) // a cell can be queued already
		defer cancel()
		return errors.Join(err, l.Followers().Die(clean, cellhold.StatusLost, "The kernel could not be started."))
	}
	return nil
}

// setUp prepares a new sandbox: it copies the user's files into it, opens the network access, and starts the
// kernels.
func (b *sandboxes) setUp(ctx context.Context, l *live, rec record.Session) error {
	if err := b.s.mirror.Push(ctx, l.Client()); err != nil {
		return fmt.Errorf("copy the output files into the sandbox: %w", err)
	}
	b.filesKnown = true
	if err := l.OpenNetwork(ctx, b.network()); err != nil {
		return fmt.Errorf("open the network access of the sandbox: %w", err)
	}
	return l.StartKernels(ctx, rec.Kernels, rec.Startup, b.s.env.StartTimeout)
}

// installTemplate installs the packages of the session's template in a sandbox that started cold.
func (b *sandboxes) installTemplate(ctx context.Context, rec record.Session) error {
	if b.s.env.Templates == nil || rec.Template == "" {
		return nil
	}
	t, err := b.s.env.Templates.Find(rec.Template)
	if err != nil || len(t.Packages) == 0 {
		return nil // a removed template has no packages
	}
	plan, err := b.s.env.Packages.Plan(packages.Request{Requirements: t.Packages})
	if err != nil {
		return err
	}
	l := b.current()
	if l == nil {
		return ErrNoSandbox
	}
	report, locked, err := b.s.env.Packages.Install(ctx, l.Client(), plan)
	if err != nil {
		return err
	}
	lock, err := packages.Merge(nil, report.Changes, locked)
	b.s.change(func(r *record.Session) { r.Packages = lock })
	return err
}

// restore makes the session's next sandbox from a snapshot and connects to it. It starts no goroutines yet.
// After an error it leaves no sandbox behind.
func (b *sandboxes) restore(ctx context.Context, rec record.Session, snapshot string, r attachment.Request) (*live, error) {
	if err := b.findRootfs(rec); err != nil {
		return nil, err
	}
	rec.Sandbox = record.NextSandboxID(rec.ID, rec.Sandbox)
	spec := b.spec(rec)
	spec.From, spec.Often = snapshot, snapshots.IsOfForks(snapshot)
	sb, err := b.s.env.Driver.Create(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", rec.Sandbox, err)
	}
	l, err := b.connect(ctx, sb, r)
	if cellhold.KindOf(err) == cellhold.Unsupported {
		err = &sandbox.SnapshotError{Reason: "its agent has a version that this server does not support", Err: err}
	}
	if err == nil {
		if err = l.OpenNetwork(ctx, b.network()); err == nil {
			return l, nil
		}
		l.Close(nil)
	}
	b.s.env.Registry.Destroy(ctx, sb)
	return nil, err
}

// findRootfs finds the root file system of the session's image. It looks for the digest first, because
// another image can have the name now.
func (b *sandboxes) findRootfs(rec record.Session) error {
	img, err := b.s.env.Images.Resolve(rec.Digest)
	if err != nil {
		if img, err = b.s.env.Images.Resolve(rec.Image); err != nil {
			return err
		}
	}
	b.rootfs = img.Rootfs
	return nil
}

// connect connects to the agent of a sandbox. Goroutines start only with attach.
func (b *sandboxes) connect(ctx context.Context, sb sandbox.Sandbox, r attachment.Request) (*live, error) {
	rec := b.s.Record()
	o := attachment.Options{Dir: rec.Dir, Env: rec.Env, Session: b.s.id, Logger: b.s.slog, Log: b.s.log, Journal: b.s.env.Store, Mirror: b.s.mirror,
		Packages: b.s.env.Packages, Tally: &b.s.tally, MaxUpload: b.s.env.MaxUpload,
		CommandTimeout: b.s.env.CellTimeout, MaxCommandTimeout: b.s.env.MaxCellTimeout, Hooks: b.hooks()}
	if b.s.env.Templates != nil {
		o.Greeted = b.s.env.Templates.PrimedClient
	}
	a, err := attachment.Attach(ctx, b.s.ctx, sb, o, r)
	if err != nil {
		return nil, err
	}
	return &live{Attachment: a, over: make(chan struct{})}, nil
}

func (b *sandboxes) hooks() attachment.Hooks {
	return attachment.Hooks{
		Enter: b.s.enter, Used: b.s.use, Changed: b.s.notes.Changed, Installed: b.recordPackages, Updates: b.s.displays.Update,
		Stuck:  func(a *attachment.Attachment) { b.s.env.Registry.Destroy(b.s.ctx, a.Sandbox()) }, // watch then sees the end
		Record: b.storedCell,
		Refold: func(ctx context.Context) error {
			return refold.Cells(ctx, b.s.env.Store, b.s.id, b.s.log.Last(), b.s.Record().Undone)
		},
	}
}

// storedCell returns the record of one cell.
func (b *sandboxes) storedCell(ctx context.Context, id cellhold.CellID) (record.Cell, error) {
	return b.s.env.Store.Cell(ctx, b.s.id, id)
}

// network returns the network access of the session within the operator's present policy.
func (b *sandboxes) network() attachment.Network {
	rec := b.s.Record()
	e := &b.s.env.Egress
	return attachment.Network{Policy: rec.Egress, Vault: rec.Vault, Ceiling: e.Ceiling, Rules: &e.Rules, Limits: e.Limits}
}

// recordPackages records changed packages of a sandbox, if the session still has the sandbox.
func (b *sandboxes) recordPackages(ctx context.Context, a *attachment.Attachment, changes []cellhold.PackageChange, locked []cellhold.Package) error {
	var full error
	rec := b.s.change(func(r *record.Session) {
		if l := b.current(); l != nil && l.Attachment == a {
			r.Packages, full = packages.Merge(r.Packages, changes, locked)
		}
	})
	if full != nil {
		b.s.slog.Warn("the package lock of the session is full", "err", full)
	}
	if err := b.s.env.Store.PutSession(ctx, rec); err != nil && full == nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The packages were installed, but not recorded. Check the free space on the server's disk.")
	}
	return full
}

// attach sets the present attachment of the session, and starts it.
func (b *sandboxes) attach(l *live) {
	b.mu.Lock()
	b.live, b.followers = l, l.Followers()
	b.mu.Unlock()
	l.Start()
	b.s.wg.Go(func() { b.watch(l) })
	b.s.wires.Attached(b.s.ctx, l.Attachment)
}

// commit records a change of the session that names the sandbox of l. If that fails, it destroys the sandbox.
func (b *sandboxes) commit(ctx context.Context, l *live, ev record.Event, f func(r *record.Session, seq int64)) error {
	err := b.s.commit(ctx, ev, f)
	if err != nil {
		l.Close(nil)
		b.s.env.Registry.Destroy(ctx, l.Sandbox())
	}
	return err
}

// follow sets the followers of a session that has no sandbox.
func (b *sandboxes) follow(f *attachment.Followers) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.followers = f
}

// detach releases the sandbox, which keeps running, and returns it. It returns nil if there is none.
func (b *sandboxes) detach() sandbox.Sandbox {
	b.mu.Lock()
	l := b.live
	b.live = nil
	b.mu.Unlock()
	if l == nil {
		return nil
	}
	l.Close(nil)
	return l.Sandbox()
}

// detachLive is like detach for a sandbox that must not have ended. It returns false if the sandbox ended.
// Watches of files end with reason.
func (b *sandboxes) detachLive(l *live, reason error) bool {
	b.mu.Lock()
	if b.live != l || l.ended {
		b.mu.Unlock()
		return false
	}
	b.live = nil
	b.mu.Unlock()
	l.Close(reason)
	return true
}

// close makes new calls wait until the turn's transition ends, and returns the sandbox. If a call, a
// cell or a command is running, the error is a Conflict.
func (b *sandboxes) close(turn *states.Turn) (*live, error) {
	l := b.current()
	if l == nil {
		return nil, cellhold.Errorf(cellhold.Conflict, "The session has no sandbox now. Restart its kernel to get a new one.")
	}
	if l.Moving() || !turn.Close() {
		return nil, cellhold.Errorf(cellhold.Conflict, "The session is in use by a file transfer, an installation or another call. Retry when it is done.")
	}
	if err := l.Followers().Idle(); err != nil { // also checks the calls that began before the close
		turn.Reopen()
		return nil, err
	}
	return l, nil
}

// destroy destroys the sandbox, if there is one.
func (b *sandboxes) destroy(ctx context.Context) {
	if sb := b.detach(); sb != nil {
		b.s.env.Registry.Destroy(ctx, sb)
	}
}

// dieRetry is the pause between attempts to record the end of a sandbox: the disk can be full.
const dieRetry = 2 * time.Second

// watch waits for the end of a sandbox and ends its cells and commands. Until the end is recorded, callers
// that wait for a cell keep waiting, and the session gets no new sandbox.
func (b *sandboxes) watch(l *live) {
	status, detail, err := l.End(l.Context())
	if err != nil {
		return // detached
	}
	b.mu.Lock()
	attached := b.live == l
	l.ended = true
	b.mu.Unlock()
	if !attached || !b.recordEnd(l, status, detail) {
		return
	}
	b.s.use()
	b.s.notes.Changed()
	b.mu.Lock()
	if b.live == l {
		b.live = nil
	}
	b.mu.Unlock()
	close(l.over)
	l.Close(nil)
	b.s.env.Registry.Destroy(b.s.ctx, l.Sandbox())
}

// recordEnd records the end of a sandbox, and retries until it succeeds or the attachment is closed. It
// reports whether it succeeded.
func (b *sandboxes) recordEnd(l *live, status cellhold.CellStatus, detail string) bool {
	for {
		err := l.Followers().Die(l.Context(), status, detail)
		if err == nil {
			return true
		}
		b.s.slog.Error("recording the end of a sandbox", "err", err)
		select {
		case <-l.Context().Done():
			return false
		case <-time.After(dieRetry):
		}
	}
}
