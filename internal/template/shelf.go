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

// Labels of the sandboxes that snapshots of templates are taken of.
const (
	labelTemplate = "template"
	labelKey      = "key"
	labelPackages = "packages"
)

// base is what a template's sandboxes are.
func (t *Templates) base(e *entry) (sandbox.Spec, error) {
	img, err := t.o.Images(e.Image)
	if err != nil {
		return sandbox.Spec{}, err
	}
	l := e.Limits
	return sandbox.Spec{Rootfs: img.Rootfs, Image: img.Digest, Data: t.o.Data, Limits: sandbox.Limits{
		Memory: l.Memory, CPU: l.CPU, Processes: l.Processes, Disk: l.Disk, Tmp: l.Tmp, Output: l.Output}}, nil
}

// key is of all that a snapshot depends on, but for what the driver itself compares: its own version, the
// agent's binary and the processor. Another key is another snapshot.
func (t *Templates) key(e *entry, base sandbox.Spec) string {
	text, err := json.Marshal([]any{e.Name, base.Image, base.Rootfs, base.Limits, base.Data, e.out, e.Packages, e.code, settle, t.o.Kernel, guestapi.Version})
	if err != nil {
		panic(err) // there is nothing in it that cannot be encoded
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// newName names a snapshot that is to be made. Each has a name of its own, so that what continues from
// the one before is told apart from what continues from it.
func newName() string { return prefix + strings.ToLower(rand.Text()[:16]) }

// recall takes up the snapshots that an earlier server has left, and removes those that are of no use.
func (t *Templates) recall(ctx context.Context) {
	useless, err := t.takeUp(ctx)
	if err != nil {
		t.o.Logger.Error("looking for the templates' snapshots", "err", err)
		return
	}
	for _, s := range useless {
		t.o.Logger.Info("removing a template's old snapshot", "snapshot", s.Name, "stale", s.Stale, "former agent", s.Former)
		t.remove(ctx, s.Name)
	}
}

// Look takes up what Run would take up first, and changes nothing. List then says what there is; outdated
// says of the templates that have nothing but an outdated snapshot, by their names, what is the matter with it.
func (t *Templates) Look(ctx context.Context) (outdated map[string]string, err error) {
	useless, err := t.takeUp(ctx)
	outdated = map[string]string{}
	for _, s := range useless {
		name := s.Labels[labelTemplate]
		if e := t.find(name); e == nil || e.snapshot != "" || outdated[name] != "" {
			continue // the newest says it
		}
		switch {
		case s.Stale != "":
			outdated[name] = s.Stale
		case s.Former:
			outdated[name] = "it has the agent of another version of this server"
		default:
			outdated[name] = "it was made with other settings, or from another image"
		}
	}
	return outdated, err
}

// takeUp takes up the snapshots that an earlier server has left, and returns the others, the newest first.
func (t *Templates) takeUp(ctx context.Context) (useless []sandbox.Snapshot, err error) {
	there, err := t.warm.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	there = slices.DeleteFunc(there, func(s sandbox.Snapshot) bool { return !strings.HasPrefix(s.Name, prefix) })
	slices.SortFunc(there, func(a, b sandbox.Snapshot) int { return b.Created.Compare(a.Created) }) // the newest first
	used := map[string]bool{}
	for _, e := range t.entries() {
		base, err := t.base(e)
		if err != nil {
			continue // making it will say so
		}
		key := t.key(e, base)
		for _, s := range there {
			if s.Labels[labelKey] == key && s.Stale == "" && !s.Former && t.take(e, base, s) {
				used[s.Name] = true
				break
			}
		}
	}
	return slices.DeleteFunc(there, func(s sandbox.Snapshot) bool { return used[s.Name] }), nil
}

// entries are the templates.
func (t *Templates) entries() []*entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list)
}

// take makes a snapshot the one that a template's sessions continue from. An old one does until there
// is a newer.
func (t *Templates) take(e *entry, base sandbox.Spec, s sandbox.Snapshot) bool {
	var installed []cellhold.Package
	if text := s.Labels[labelPackages]; text != "" && json.Unmarshal([]byte(text), &installed) != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.snapshot, e.base, e.installed = s.Name, base, installed
	e.built, e.size = s.Created, s.Size
	e.problem, e.failures, e.blamed = "", 0, 0
	e.due = s.Created.Add(t.o.Refresh)
	return true
}

// remove removes a snapshot. What cannot be removed now is found by the next server.
func (t *Templates) remove(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if err := t.warm.RemoveSnapshot(ctx, name); err != nil {
		t.o.Logger.Error("removing a snapshot", "snapshot", name, "err", err)
	}
}
