package template

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox"
)

// Labels of the sandboxes from which snapshots of templates are made.
const (
	labelTemplate = "template"
	labelKey      = "key"
	labelPackages = "packages"
)

// base returns the specification of a template's sandboxes.
func (t *Templates) base(e *entry) (sandbox.Spec, error) {
	img, err := t.o.Images(e.Image)
	if err != nil {
		return sandbox.Spec{}, err
	}
	l := e.Limits
	return sandbox.Spec{Rootfs: img.Rootfs, Image: img.Digest, Data: t.o.Data, Limits: sandbox.Limits{
		Memory: l.Memory, CPU: l.CPU, Processes: l.Processes, Disk: l.Disk, Tmp: l.Tmp, Output: l.Output}}, nil
}

// key identifies the inputs of a snapshot. If they change, the template needs another snapshot. The driver checks three
// more inputs itself: its version, the agent's binary and the processor.
func (t *Templates) key(e *entry, base sandbox.Spec) string {
	text, err := json.Marshal([]any{e.Name, base.Image, base.Rootfs, base.Limits, base.Data, e.out, e.Packages, e.code, settle, t.o.Kernel, guestapi.Version})
	if err != nil {
		panic(err) // all values can be encoded
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// newName returns a unique name for a new snapshot, to distinguish its sandboxes from those of the previous snapshot.
func newName() string { return prefix + strings.ToLower(rand.Text()[:16]) }

// adoptSnapshots finds the usable snapshots of an earlier server, and removes all others.
func (t *Templates) adoptSnapshots(ctx context.Context) {
	unused, err := t.assign(ctx)
	if err != nil {
		t.o.Logger.Error("cannot list the templates' snapshots", "err", err)
		return
	}
	for _, s := range unused {
		t.o.Logger.Info("removing a template's old snapshot", "snapshot", s.Name, "stale", s.Stale, "former", s.Former)
		t.remove(ctx, s.Name)
	}
}

// Look finds the snapshots that Run would use, and changes nothing. Then List describes them. For each template that has
// only an outdated snapshot, outdated has the reason.
func (t *Templates) Look(ctx context.Context) (outdated map[string]string, err error) {
	unused, err := t.assign(ctx)
	outdated = map[string]string{}
	for _, s := range unused {
		name := s.Labels[labelTemplate]
		if e := t.find(name); e == nil || e.snapshot != "" || outdated[name] != "" {
			continue // the newest snapshot has the reason
		}
		switch {
		case s.Stale != "":
			outdated[name] = s.Stale
		case s.Former:
			outdated[name] = "it has the agent or the gVisor of another version of the server"
		default:
			outdated[name] = "it was made with other settings or from another image"
		}
	}
	return outdated, err
}

// assign assigns the usable snapshots of an earlier server to templates, and returns the others, the newest first.
func (t *Templates) assign(ctx context.Context) (unused []sandbox.Snapshot, err error) {
	found, err := t.warm.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(s sandbox.Snapshot) bool { return !strings.HasPrefix(s.Name, prefix) })
	slices.SortFunc(found, func(a, b sandbox.Snapshot) int { return b.Created.Compare(a.Created) }) // newest first
	used := map[string]bool{}
	for _, e := range t.entries() {
		base, err := t.base(e)
		if err != nil {
			continue // the build of the snapshot reports the error
		}
		key := t.key(e, base)
		for _, s := range found {
			if s.Labels[labelKey] == key && s.Stale == "" && !s.Former && t.use(e, base, s) {
				used[s.Name] = true
				break
			}
		}
	}
	return slices.DeleteFunc(found, func(s sandbox.Snapshot) bool { return used[s.Name] }), nil
}

// entries returns the templates.
func (t *Templates) entries() []*entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list)
}

// use makes a snapshot the current one of a template. It returns false if the snapshot has no valid list of packages.
func (t *Templates) use(e *entry, base sandbox.Spec, s sandbox.Snapshot) bool {
	var installed []cellhold.Package
	if text := s.Labels[labelPackages]; text != "" && json.Unmarshal([]byte(text), &installed) != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.snapshot, e.base, e.installed = s.Name, base, installed
	e.built, e.size = s.Created, s.Size
	e.problem, e.failures, e.unexplained = "", 0, 0
	e.due = s.Created.Add(t.o.Refresh)
	return true
}

// remove removes a snapshot. After a failure the next server finds the snapshot and removes it.
func (t *Templates) remove(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := t.warm.RemoveSnapshot(ctx, name); err != nil {
		t.o.Logger.Error("cannot remove a snapshot", "snapshot", name, "err", err)
	}
}
