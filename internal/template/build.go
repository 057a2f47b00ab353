package template

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages"
	"cellhold/internal/sandbox"
)

// cleanTimeout bounds the clean-up, which also runs after a failure.
const cleanTimeout = 30 * time.Second

// rebuild rebuilds a template's snapshot. The old snapshot stays in use until the new one is ready, and also after a
// failure.
func (t *Templates) rebuild(ctx context.Context, e *entry) {
	t.mu.Lock()
	old, unusable := e.snapshot, e.unusable
	e.unusable = ""
	t.mu.Unlock()
	if unusable != "" {
		t.remove(ctx, unusable)
	}
	began := time.Now()
	base, made, err := t.build(ctx, e)
	if err == nil && !t.use(e, base, made) {
		err = errors.New("the new snapshot has no list of its packages")
	}
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		t.o.Logger.Error("cannot build a template's snapshot", "template", e.Name, "err", err)
		t.mu.Lock()
		defer t.mu.Unlock()
		e.fail(sentence(err))
		return
	}
	t.o.Logger.Info("template is ready", "template", e.Name, "snapshot", made.Name, "bytes", made.Size, "took", time.Since(began).Round(time.Millisecond))
	t.keep()
	if old != "" {
		t.remove(ctx, old)
	}
}

// sentence returns the message of an error for callers.
func sentence(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok && e.Kind != cellhold.Internal {
		return e.Message
	}
	return "The snapshot could not be built. The server's log has the reason."
}

var errSlow = cellhold.Errorf(cellhold.Unavailable, "The build of the snapshot exceeded the time limit.")

// build starts a sandbox of a template, warms it up and saves it.
func (t *Templates) build(ctx context.Context, e *entry) (base sandbox.Spec, made sandbox.Snapshot, err error) {
	timeout := t.o.Timeout
	if len(e.Packages) > 0 {
		timeout += packages.DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	if base, err = t.base(e); err != nil {
		return base, made, err
	}
	s := base
	s.ID = sandbox.ID("t" + strings.ToLower(rand.Text()[:16]) + "-0000") // as long as the sandbox ids of sessions
	s.Labels = map[string]string{labelTemplate: e.Name, labelKey: t.key(e, base)}
	sb, err := t.o.Driver.Create(ctx, s)
	if err != nil {
		return base, made, err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		err = errors.Join(err, sb.Destroy(clean))
	}()
	if err = t.warmUp(ctx, e, sb, s.Labels); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return base, made, err
	}
	name := newName()
	if err = sb.Snapshot(ctx, name); err != nil {
		return base, made, err
	}
	made, err = t.findSnapshot(ctx, name)
	return base, made, err
}

// warmUp brings a new sandbox into the state in which sessions start.
func (t *Templates) warmUp(ctx context.Context, e *entry, sb sandbox.Sandbox, labels map[string]string) error {
	client, err := guest.New(guest.Options{Dial: sb.Dial, Logger: t.o.Logger})
	if err != nil {
		return err
	}
	defer client.Close()
	if e.out {
		// The kernel needs the proxy variables at its start. The session configures the proxy later.
		if _, err := client.OpenWay(ctx, guestapi.SessionWay, guestapi.Way{}); err != nil {
			return err
		}
	}
	if err := t.install(ctx, e, sb, client, labels); err != nil {
		return err
	}
	k := client.Kernel(cellhold.KernelID(t.o.Kernel))
	if err := k.Start(ctx, guestapi.StartKernel{Spec: t.o.Kernel}); err != nil {
		return err
	}
	if err := awaitIdle(ctx, k); err != nil {
		return err
	}
	if err := prepare(ctx, k, e.code, t.o.Timeout); err != nil {
		return err
	}
	if err := tryRenewal(ctx, client, k); err != nil {
		return err
	}
	return prepare(ctx, k, settle, primeTimeout)
}

// tryRenewal checks that guestapi.Renew gives the image's kernel new random seeds. Otherwise the kernel would draw the same
// random numbers in all sessions.
func tryRenewal(ctx context.Context, client *guest.Client, k *guest.Kernel) error {
	if err := prepare(ctx, k, seed, primeTimeout); err != nil {
		return err
	}
	if _, err := client.Renew(ctx, guestapi.Renew{Timeout: primeTimeout}); err != nil {
		return err
	}
	if err := prepare(ctx, k, reseeded, primeTimeout); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel of the image cannot be renewed, so sessions start cold. Rebuild the image with this version.")
	}
	return nil
}

// install installs a template's packages and records them in the sandbox's labels, which the snapshot keeps.
func (t *Templates) install(ctx context.Context, e *entry, sb sandbox.Sandbox, client *guest.Client, labels map[string]string) error {
	if len(e.Packages) == 0 {
		return nil
	}
	plan, err := t.o.Packages.Plan(packages.Request{Requirements: e.Packages})
	if err != nil {
		return err
	}
	report, locked, err := t.o.Packages.Install(ctx, client, plan)
	if err != nil {
		return err
	}
	lock, err := packages.Merge(nil, report.Changes, locked)
	if err != nil {
		return err
	}
	text, err := json.Marshal(lock)
	if err != nil {
		return err
	}
	labels[labelPackages] = string(text)
	m, ok := sb.(sandbox.Marker)
	if !ok {
		return fmt.Errorf("record the packages: the driver: %w", errors.ErrUnsupported)
	}
	return m.Mark(ctx, labels)
}

// awaitIdle waits until a kernel has started.
func awaitIdle(ctx context.Context, k *guest.Kernel) error {
	for ev, err := range k.Events(ctx, 0) {
		if err != nil {
			return err
		}
		var now cellhold.KernelStateContent
		if ev.Type != cellhold.EventKernelState || json.Unmarshal(ev.Content, &now) != nil {
			continue
		}
		switch now.State {
		case cellhold.KernelIdle:
			return nil
		case cellhold.KernelDead:
			return cellhold.Errorf(cellhold.Unavailable, "The kernel did not start: %s", now.Detail)
		}
	}
	return errors.New("the kernel's events ended before it was idle")
}

// prepare runs code that leaves no names in the user's namespace.
func prepare(ctx context.Context, k *guest.Kernel, code string, timeout time.Duration) error {
	if code == "" {
		return nil
	}
	done, err := k.Prepare(ctx, guestapi.Prepare{Code: code, Timeout: timeout})
	if err == nil && done.Error != "" {
		err = cellhold.Errorf(cellhold.Unavailable, "The warm-up code failed: %s", done.Error)
	}
	return err
}

// findSnapshot returns the snapshot with this name. A snapshot that cannot be restored is an error.
func (t *Templates) findSnapshot(ctx context.Context, name string) (sandbox.Snapshot, error) {
	list, err := t.warm.Snapshots(ctx)
	if err != nil {
		return sandbox.Snapshot{}, err
	}
	for _, s := range list {
		if s.Name == name && s.Stale == "" {
			return s, nil
		}
	}
	return sandbox.Snapshot{}, fmt.Errorf("snapshot %s: %w", name, sandbox.ErrSnapshot)
}

// primeTimeout bounds each step of priming: a hundred times the usual time, because a loaded host is slow.
const primeTimeout = 20 * time.Second

// prime makes a restored sandbox different from the other sandboxes of its snapshot. If no caller waits for the sandbox,
// prime also runs typical first cells.
func (t *Templates) prime(ctx context.Context, sb sandbox.Sandbox, awaited bool) error {
	client, err := guest.New(guest.Options{Dial: sb.Dial, Logger: t.o.Logger})
	if err != nil {
		return err
	}
	info, err := client.Renew(ctx, guestapi.Renew{Timeout: primeTimeout})
	if err == nil && !awaited {
		err = prepare(ctx, client.Kernel(cellhold.KernelID(t.o.Kernel)), firstCells, primeTimeout)
	}
	if err != nil {
		client.Close()
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.primed[sb.ID()] = primedAgent{client, info}
	return nil
}

// primedAgent has the client that primed the agent of a sandbox. No other client has used the agent since then.
type primedAgent struct {
	client *guest.Client
	info   guestapi.Info
}

// PrimedClient returns the client of a primed sandbox and the Info of its agent. If the sandbox is not primed, the client is
// nil. From then on the caller owns the client.
func (t *Templates) PrimedClient(id sandbox.ID) (*guest.Client, guestapi.Info) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.primed[id]
	delete(t.primed, id)
	return a.client, a.info
}

// forget closes the client of a primed sandbox that no session used.
func (t *Templates) forget(id sandbox.ID) {
	if client, _ := t.PrimedClient(id); client != nil {
		client.Close()
	}
}
