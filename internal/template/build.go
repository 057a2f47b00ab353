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

// cleanTimeout bounds what must be done after a failure too.
const cleanTimeout = 30 * time.Second

// renew makes a template's snapshot anew. The one before is in use until then, also after a failure.
func (t *Templates) renew(ctx context.Context, e *entry) {
	t.mu.Lock()
	old, spoilt := e.snapshot, e.spoilt
	e.spoilt = ""
	t.mu.Unlock()
	if spoilt != "" {
		t.remove(ctx, spoilt)
	}
	began := time.Now()
	base, made, err := t.build(ctx, e)
	if err == nil && !t.take(e, base, made) {
		err = errors.New("the new snapshot does not say what is in it")
	}
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		t.o.Logger.Error("making a template's snapshot", "template", e.Name, "err", err)
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

// sentence is what callers are told of an error.
func sentence(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok && e.Kind != cellhold.Internal {
		return e.Message
	}
	return "Its snapshot could not be made. The server's log says why."
}

var errSlow = cellhold.Errorf(cellhold.Unavailable, "Making its snapshot took too long.")

// build starts a template's sandbox, warms it up and saves it.
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
	s.ID = sandbox.ID("t" + strings.ToLower(rand.Text()[:16]) + "-0000") // as long as those of sessions
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
	if err = t.furnish(ctx, e, sb, s.Labels); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return base, made, err
	}
	name := newName()
	if err = sb.Snapshot(ctx, name); err != nil {
		return base, made, err
	}
	made, err = t.look(ctx, name)
	return base, made, err
}

// furnish brings a fresh sandbox into the state that sessions continue from.
func (t *Templates) furnish(ctx context.Context, e *entry, sb sandbox.Sandbox, labels map[string]string) error {
	client, err := guest.New(guest.Options{Dial: sb.Dial, Logger: t.o.Logger})
	if err != nil {
		return err
	}
	defer client.Close()
	if e.out {
		// Its variables must be there when the kernel starts. Whose way it is, and where it leads, is
		// the session's to say.
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

// tryRenewal makes sure that the image's kernel can be renewed. One that cannot be would draw the same random
// numbers in all sessions.
func tryRenewal(ctx context.Context, client *guest.Client, k *guest.Kernel) error {
	if err := prepare(ctx, k, seed, primeTimeout); err != nil {
		return err
	}
	if _, err := client.Renew(ctx, guestapi.Renew{Timeout: primeTimeout}); err != nil {
		return err
	}
	if err := prepare(ctx, k, reseeded, primeTimeout); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel of its image cannot be renewed, so its sessions start cold. Build the image anew with this version.")
	}
	return nil
}

// install installs a template's packages and notes them in the sandbox's labels, which its snapshot keeps.
func (t *Templates) install(ctx context.Context, e *entry, sb sandbox.Sandbox, client *guest.Client, labels map[string]string) error {
	if len(e.Packages) == 0 {
		return nil
	}
	plan, err := t.o.Packages.Plan(packages.Request{Requirements: e.Packages})
	if err != nil {
		return err
	}
	report, come, err := t.o.Packages.Install(ctx, client, plan)
	if err != nil {
		return err
	}
	lock, err := packages.Merge(nil, report.Changes, come)
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
		return fmt.Errorf("noting the packages: the driver: %w", errors.ErrUnsupported)
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
			return cellhold.Errorf(cellhold.Unavailable, "Its kernel did not start: %s", now.Detail)
		}
	}
	return errors.New("the kernel's events ended")
}

// prepare runs code that leaves no trace in the user's namespace.
func prepare(ctx context.Context, k *guest.Kernel, code string, timeout time.Duration) error {
	if code == "" {
		return nil
	}
	done, err := k.Prepare(ctx, guestapi.Prepare{Code: code, Timeout: timeout})
	if err == nil && done.Error != "" {
		err = cellhold.Errorf(cellhold.Unavailable, "Its warm-up code failed: %s", done.Error)
	}
	return err
}

// look finds a snapshot.
func (t *Templates) look(ctx context.Context, name string) (sandbox.Snapshot, error) {
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

// primeTimeout bounds each step of priming: a hundred times what it takes, because a loaded host is slow.
const primeTimeout = 20 * time.Second

// prime makes a sandbox that continues from a template's snapshot unlike all others. One that nobody waits
// for runs what first cells do as well.
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
	t.met[sb.ID()] = acquaintance{client, info}
	return nil
}

// acquaintance is an agent that has been spoken to, and nobody else has since.
type acquaintance struct {
	client *guest.Client
	info   guestapi.Info
}

// Met returns the connection to the agent of a sandbox that was primed, and who that is; nil when it was
// not. The connection is the caller's from then on.
func (t *Templates) Met(id sandbox.ID) (*guest.Client, guestapi.Info) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.met[id]
	delete(t.met, id)
	return a.client, a.info
}

// gone forgets a sandbox that nobody has had.
func (t *Templates) gone(id sandbox.ID) {
	if client, _ := t.Met(id); client != nil {
		client.Close()
	}
}
