package embedded

import (
	"bufio"
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
	"strings"
	"sync"
	"time"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/shelf"
)

const (
	// syncAfter lets those be removed in time that are needed for moments only, as for forks.
	syncAfter = 5 * time.Second
	// slowDisk is how many bytes a second a disk writes that is slow, but not stuck.
	slowDisk = 20 << 20
)

var _ sandbox.Shelf = (*Driver)(nil)

func (d *Driver) openShelf() (err error) {
	d.shelf, err = shelf.Open(shelf.Options{
		Dir: d.snapshots, Reserve: d.reserve, Boot: bootID(), SyncAfter: syncAfter,
		Failed: func(name string, err error) {
			d.log.Warn("a snapshot did not reach the disk, and will be lost if the host goes down", "snapshot", name, "error", err)
		},
	})
	return err
}

// needs says what must be the same where a sandbox of that specification goes on, other than what the
// specification itself says, and than its agent.
func (d *Driver) needs(s sandbox.Spec) map[string]string {
	return map[string]string{
		"gVisor": pinnedGvisor, "processor": processor(), "configuration": d.shape(s),
	}
}

// shape is a digest of everything that gVisor is told about a sandbox, without what may be different
// where it goes on: its own name and paths, memory and CPU.
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
		panic(err) // a type that cannot be written as JSON
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// processor is a digest of what the host's processors can do. Programs look once, at their start.
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

// origin opens the snapshot that s continues from, if it does, and returns the agent that it runs. Every way in
// which the two do not go together is sandbox.ErrSnapshot.
func (d *Driver) origin(s sandbox.Spec) (*shelf.Image, agent, error) {
	if s.From == "" {
		return nil, d.agent, nil
	}
	from, err := d.shelf.Use(s.From)
	if err != nil {
		return nil, agent{}, fmt.Errorf("snapshot %s: %w", s.From, err)
	}
	a, err := d.fitting(from.Record, s)
	if err != nil {
		from.Close()
		return nil, agent{}, fmt.Errorf("snapshot %s: %w", s.From, err)
	}
	return from, a, nil
}

// fitting returns the agent of a snapshot that s can continue from.
func (d *Driver) fitting(r shelf.Record, s sandbox.Spec) (agent, error) {
	if reason := d.lacking(r.Needs, s); reason != "" {
		return agent{}, &sandbox.Misfit{Why: reason}
	}
	if reason := s.Unlike(r.Spec); reason != "" {
		return agent{}, fmt.Errorf("%w: %s", sandbox.ErrSnapshot, reason)
	}
	return d.agents[r.Needs[needsAgent]], nil
}

// lacking says what of a snapshot's needs is not met here by a sandbox of that specification.
func (d *Driver) lacking(needs map[string]string, s sandbox.Spec) string {
	here := d.needs(s)
	for _, what := range slices.Sorted(maps.Keys(here)) {
		if needs[what] != here[what] {
			return fmt.Sprintf("it was made with another %s", what)
		}
	}
	if d.agents[needs[needsAgent]].path == "" {
		return "the agent that it was made with is not there any more"
	}
	return ""
}

// blame marks the error of a restore that failed for the image.
func (d *Driver) blame(err error, id sandbox.ID) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != badImage {
		return err
	}
	if d.cgroups != nil && d.cgroups.usage(id).OOMKills > 0 {
		return fmt.Errorf("what the snapshot holds does not fit into the memory limit: %w", err)
	}
	return fmt.Errorf("%w: %w", sandbox.ErrSnapshot, err)
}

// broken marks the error of a continuation that did not answer because it had ended.
func (b *box) broken(err error) error {
	const soon = time.Second // the end of the link is seen a moment before that of the process
	select {
	case <-b.ended:
	case <-time.After(soon):
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exit.OOM {
		return fmt.Errorf("what the snapshot holds does not fit into the memory limit: %w", err)
	}
	return fmt.Errorf("%w: what went on from it has ended: %w", sandbox.ErrSnapshot, err)
}

// Snapshot saves the sandbox's state under a name.
func (b *box) Snapshot(ctx context.Context, name string) error {
	b.life.Lock()
	defer b.life.Unlock()
	err := error(sandbox.ErrNotFound)
	if !b.released && !b.hasEnded() {
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
		return errors.New("it was made by an earlier version of this server, which noted too little about it")
	}
	// Who has adopted the sandbox of an earlier version could save it, and then not go on from that.
	if reason := b.d.lacking(r.Needs, r.Spec); reason != "" {
		return &sandbox.Misfit{Why: reason}
	}
	size := b.footprint()
	draft, err := b.d.shelf.Draft(name, size)
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
	return draft.Commit(ctx, shelf.Record{
		Created: time.Now().UTC(), Spec: r.Spec, Labels: r.Labels, Needs: r.Needs,
	})
}

// footprint guesses how large a snapshot will be.
func (b *box) footprint() int64 {
	if used := b.usage().Memory; used >= 0 {
		return used
	}
	return b.record.Spec.Limits.Memory
}

// write has gVisor write the image. It takes its time also when ctx ends: gVisor cannot be stopped in it,
// and what it has not finished leaves the sandbox paused. Should that happen all the same, this server
// or the next lets the sandbox go on.
func (b *box) write(ctx context.Context, dir string, limit time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, fmt.Errorf("gVisor has not written it within %v", limit))
	defer cancel()
	b.record.Saving = !b.paused.Load()
	if err := b.record.save(b.paths); err != nil {
		return err
	}
	args := []string{"checkpoint", "--image", dir, "--in", b.paths.in}
	if b.paused.Load() {
		args = append(args, "--paused")
	}
	err := b.d.tell(ctx, b.paths, append(args, innerID)...)
	if err != nil && b.record.Saving {
		b.d.goOn(ctx, b.record, b.paths)
	}
	b.record.Saving = false
	return errors.Join(err, b.record.save(b.paths))
}

// goOn lets a sandbox go on that may have been left paused. A process of a dead server that is still
// saving it does so by itself, and must not be forestalled: to be resumed twice is fatal to a sandbox.
func (d *Driver) goOn(ctx context.Context, r *record, p paths) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.startTimeout)
	defer cancel()
	for _, saver := range startedWith(p.gvisor, "checkpoint") {
		if err := saver.await(ctx); err != nil {
			d.log.Warn("a process that saves a sandbox does not end, and is ended", "sandbox", string(r.ID), "error", err)
			_ = saver.end(context.WithoutCancel(ctx)) // it has the sandbox's arguments, so it is ended with it too
		}
	}
	// Its error says mostly that the sandbox was not paused.
	if err := d.tell(ctx, p, "resume", innerID); err != nil {
		d.log.Debug("a sandbox that was being saved was not paused", "sandbox", string(r.ID), "error", err)
	}
}

// Snapshots lists what is there.
func (d *Driver) Snapshots(context.Context) ([]sandbox.Snapshot, error) {
	records, err := d.shelf.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	all := make([]sandbox.Snapshot, 0, len(records))
	for _, r := range records {
		all = append(all, sandbox.Snapshot{
			Name: r.Name, Created: r.Created, Size: r.Size(), Image: r.Spec.Image, Labels: r.Labels,
			Stale: d.stale(r), Former: r.Needs[needsAgent] != d.agent.digest,
		})
	}
	return all, nil
}

// stale says why nothing can continue from a snapshot any more.
func (d *Driver) stale(r shelf.Record) string {
	if r.Fault != "" {
		return r.Fault
	}
	return d.lacking(r.Needs, r.Spec)
}

// RemoveSnapshot frees a snapshot's space.
func (d *Driver) RemoveSnapshot(_ context.Context, name string) error {
	if err := d.shelf.Remove(name); err != nil {
		return fmt.Errorf("remove snapshot %s: %w", name, err)
	}
	return nil
}

// Mark replaces the sandbox's labels.
func (b *box) Mark(_ context.Context, labels map[string]string) error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.released {
		return fmt.Errorf("mark sandbox %s: %w", b.ID(), sandbox.ErrNotFound)
	}
	b.record.Labels = maps.Clone(labels)
	if err := b.record.save(b.paths); err != nil {
		return fmt.Errorf("mark sandbox %s: %w", b.ID(), err)
	}
	return nil
}
