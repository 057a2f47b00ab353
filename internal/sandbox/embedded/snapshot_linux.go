package embedded

import (
	"bufio"
	"cellhold/internal/sandbox/embedded/runner"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/snapshots"
)

const (
	// syncAfter delays the sync of a snapshot. A snapshot that is needed for moments only, as for forks, is removed
	// before its sync.
	syncAfter = 5 * time.Second
	// slowDisk is the speed of a slow disk in bytes per second. A slower disk counts as stuck.
	slowDisk = 20 << 20
)

var _ sandbox.SnapshotStore = (*Driver)(nil)

func (d *Driver) openStore() (err error) {
	d.store, err = snapshots.Open(snapshots.Options{
		Dir: d.snapshots, Reserve: d.reserve, Boot: bootID(), SyncAfter: syncAfter,
		Failed: func(name string, err error) {
			d.log.Warn("cannot sync a snapshot; it will be lost if the host crashes", "snapshot", name, "error", err)
		},
	})
	return err
}

// needs returns the requirements of a restore, in addition to the specification s.
func (d *Driver) needs(s sandbox.Spec, on programs) map[string]string {
	needs := d.equals(s)
	maps.Copy(needs, on.needs())
	return needs
}

// equals returns the values of this host and of s that must be the same when a snapshot is saved and restored.
func (d *Driver) equals(s sandbox.Spec) map[string]string {
	return map[string]string{"processor": processor(), "configuration": d.shape(s)}
}

// shape returns a digest of the whole gVisor configuration of a sandbox, without the parts that can differ after a
// restore: its name, paths, memory and CPU.
func (d *Driver) shape(s sandbox.Spec) string {
	spec := d.ociSpec(s, d.agent)
	spec.Root.Path, spec.Hostname, spec.Annotations = "", "", nil
	for i, m := range spec.Mounts {
		if m.Type == "bind" {
			spec.Mounts[i].Source = ""
		}
	}
	spec.Linux.CgroupsPath, spec.Linux.Resources = "", nil
	data, err := json.Marshal([]any{spec, d.gvisorFlags(s, paths{})})
	if err != nil {
		panic(err) // these types always have a JSON form
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// processor is a digest of the features of the host's processors. Programs read them only once, at their start.
var processor = sync.OnceValue(func() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key = strings.TrimSpace(key); key == "flags" || key == "Features" {
			sum := sha256.Sum256([]byte(value))
			return hex.EncodeToString(sum[:])
		}
	}
	return ""
})

// origin opens the snapshot of s.From, if there is one, and returns the programs of the sandbox. Every mismatch between
// the snapshot and s is a sandbox.ErrSnapshot.
func (d *Driver) origin(s sandbox.Spec) (*snapshots.Image, programs, error) {
	if s.From == "" {
		return nil, programs{d.agent, d.runner}, nil
	}
	from, err := d.store.Use(s.From)
	if err != nil {
		return nil, programs{}, fmt.Errorf("snapshot %s: %w", s.From, err)
	}
	on, err := d.programsFor(from.Record, s)
	if err != nil {
		from.Close()
		return nil, programs{}, fmt.Errorf("snapshot %s: %w", s.From, err)
	}
	return from, on, nil
}

// programsFor returns the programs of a snapshot, if s can be restored from it.
func (d *Driver) programsFor(r snapshots.Record, s sandbox.Spec) (programs, error) {
	if reason := d.unmetNeed(r.Needs, s); reason != "" {
		return programs{}, &sandbox.SnapshotError{Reason: reason}
	}
	if reason := s.Mismatch(r.Spec); reason != "" {
		return programs{}, fmt.Errorf("%w: %s", sandbox.ErrSnapshot, reason)
	}
	by, _ := d.runnerFor(r.Needs)
	return programs{d.agents[r.Needs[needsAgent]], by}, nil
}

// unmetNeed returns the first requirement of a snapshot that is not met on this host by a sandbox with the specification s,
// or "".
func (d *Driver) unmetNeed(needs map[string]string, s sandbox.Spec) string {
	here := d.equals(s)
	for _, what := range slices.Sorted(maps.Keys(here)) {
		if needs[what] != here[what] {
			return fmt.Sprintf("it was made with another %s", what)
		}
	}
	if d.agents[needs[needsAgent]].path == "" {
		return "the agent that it was made with is missing"
	}
	_, reason := d.runnerFor(needs)
	return reason
}

// classifyRestore classifies the error of a restore: it adds sandbox.ErrSnapshot if the snapshot's content is the
// cause.
func (d *Driver) classifyRestore(err error, id sandbox.ID) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != runner.BadImage {
		return err
	}
	if d.cgroups != nil && d.cgroups.Usage(id).OOMKills > 0 {
		return fmt.Errorf("the content of the snapshot exceeds the memory limit: %w", err)
	}
	return fmt.Errorf("%w: %w", sandbox.ErrSnapshot, err)
}

// classifyEnd classifies the error of a restored sandbox that did not answer: it adds sandbox.ErrSnapshot if the sandbox ended.
func (b *box) classifyEnd(err error) error {
	const soon = time.Second // the link ends a moment before the process
	select {
	case <-b.ended:
	case <-time.After(soon):
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exit.OOM {
		return fmt.Errorf("the content of the snapshot exceeds the memory limit: %w", err)
	}
	return fmt.Errorf("%w: the restored sandbox ended: %w", sandbox.ErrSnapshot, err)
}

// Snapshot saves the sandbox's state under a name.
func (b *box) Snapshot(ctx context.Context, name string) error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	err := error(sandbox.ErrNotFound)
	if !b.released.Load() && !b.hasEnded() {
		err = b.save(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("snapshot %s of sandbox %s: %w", name, b.ID(), err)
	}
	return nil
}

func (b *box) save(ctx context.Context, name string) (err error) {
	r := b.record
	if r.Needs == nil {
		return errors.New("it was made by an earlier version of this server, and its record is incomplete")
	}
	// Without this check, a sandbox of an earlier version could be saved, but not be restored.
	if reason := b.d.unmetNeed(r.Needs, r.Spec); reason != "" {
		return &sandbox.SnapshotError{Reason: reason}
	}
	size := b.estimateSize()
	draft, err := b.d.store.Draft(name, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, draft.Close()) }()
	limit := b.d.startTimeout + time.Duration(size/slowDisk)*time.Second
	if err := b.write(ctx, draft.Dir(), limit); err != nil {
		return draft.Explain(err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = draft.Commit(ctx, snapshots.Record{Created: time.Now().UTC(), Spec: r.Spec, Labels: r.Labels, Needs: r.Needs})
	if err != nil {
		return draft.Explain(err)
	}
	return nil
}

// estimateSize estimates the size of a snapshot.
func (b *box) estimateSize() int64 {
	if used := b.usage().Memory; used >= 0 {
		return used
	}
	return b.record.Spec.Limits.Memory
}

// write makes gVisor write the files of a snapshot. It continues after the end of ctx, up to limit: gVisor cannot be
// stopped, and an incomplete checkpoint leaves the sandbox paused. If the sandbox is left paused, this server or the
// next one resumes it.
func (b *box) write(ctx context.Context, dir string, limit time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, fmt.Errorf("gVisor did not write the snapshot within %v", limit))
	defer cancel()
	b.record.Saving = !b.paused.Load()
	if err := b.record.save(b.paths); err != nil {
		return err
	}
	args := append([]string{"checkpoint", "--image", dir, "--in", b.paths.in}, b.checkMemory()...)
	if b.paused.Load() {
		args = append(args, "--paused")
	}
	err := classifySave(b.d.runCommand(ctx, b.record, b.paths, append(args, runner.InnerID)...))
	if err != nil && b.record.Saving {
		b.d.ensureRunning(ctx, b.record, b.paths)
	}
	b.record.Saving = false
	return errors.Join(err, b.record.save(b.paths))
}

// checkMemory returns the arguments that make the runner refuse a save that could exceed the memory limit. Runners of other
// versions of gVisor do not know them.
func (b *box) checkMemory() []string {
	if b.record.Needs[needsGVisor] != runner.Version {
		return nil
	}
	args := []string{"--limit", strconv.FormatInt(b.record.Spec.Limits.Memory, 10)}
	if b.d.cgroups != nil {
		args = append(args, "--memory", b.d.cgroups.MemoryDir(b.ID()))
	}
	return args
}

// classifySave classifies the error of a save: it is a sandbox.MemoryError if the memory limit leaves too little free.
func classifySave(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != runner.NoRoom {
		return err
	}
	n := runner.FindNeed(err.Error())
	return &sandbox.MemoryError{Need: n.Need, Free: n.Free}
}

// ensureRunning resumes a sandbox that may have been left paused. A process of a dead server can still be saving the
// sandbox. It resumes the sandbox itself, and a second resume would end the sandbox. So ensureRunning first waits for
// the end of this process.
func (d *Driver) ensureRunning(ctx context.Context, r *record, p paths) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.startTimeout)
	defer cancel()
	for _, saver := range d.users().StartedWith(p.gvisor, "checkpoint") {
		if err := saver.Await(ctx); err != nil {
			d.log.Warn("a process that saves a sandbox does not end; killing it", "sandbox", string(r.ID), "error", err)
			_ = saver.End(context.WithoutCancel(ctx)) // if this fails, the process ends with the sandbox
		}
	}
	// Usually an error means that the sandbox was not paused.
	if err := d.runCommand(ctx, r, p, "resume", runner.InnerID); err != nil {
		d.log.Debug("a sandbox that was being saved was not paused", "sandbox", string(r.ID), "error", err)
	}
}

// Snapshots lists the snapshots.
func (d *Driver) Snapshots(context.Context) ([]sandbox.Snapshot, error) {
	records, err := d.store.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	all := make([]sandbox.Snapshot, 0, len(records))
	for _, r := range records {
		all = append(all, sandbox.Snapshot{
			Name: r.Name, Created: r.Created, Size: r.Size(), Image: r.Spec.Image, Labels: r.Labels,
			Stale: d.stale(r), Former: r.Needs[needsAgent] != d.agent.digest || r.Needs[needsGVisor] != runner.Version,
		})
	}
	return all, nil
}

// stale returns why a snapshot cannot be restored, or "".
func (d *Driver) stale(r snapshots.Record) string {
	if r.Fault != "" {
		return r.Fault
	}
	return d.unmetNeed(r.Needs, r.Spec)
}

// RemoveSnapshot deletes a snapshot.
func (d *Driver) RemoveSnapshot(_ context.Context, name string) error {
	if err := d.store.Remove(name); err != nil {
		return fmt.Errorf("remove snapshot %s: %w", name, err)
	}
	return nil
}

// Mark replaces the sandbox's labels.
func (b *box) Mark(_ context.Context, labels map[string]string) error {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	if b.released.Load() {
		return fmt.Errorf("mark sandbox %s: %w", b.ID(), sandbox.ErrNotFound)
	}
	b.record.Labels = maps.Clone(labels)
	if err := b.record.save(b.paths); err != nil {
		return fmt.Errorf("mark sandbox %s: %w", b.ID(), err)
	}
	return nil
}
