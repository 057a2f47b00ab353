// Package warm keeps sandboxes ready. It is a driver around another driver.
//
// Ready sandboxes are restored from snapshots, primed, and then wait. Create returns the oldest one with the requested
// specification. If none is ready, it creates one, in the order in which the callers asked. Each ready sandbox is used
// once and never returned. A goroutine refills the pools with a limited share of one core, and empties them when the
// host has too little memory. After a burst of calls, a pool keeps more than Kept.Count sandboxes ready; after quiet
// minutes it keeps Kept.Count again.
//
// The package does not know how to make two sandboxes of one snapshot different. Options.Prime does that for every
// sandbox that is restored from a shared snapshot, also if no pool has its specification.
//
// Driver.mu is held for changes of the lists only, never during the creation, labelling or destruction of a sandbox.
package warm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"

	"cellhold/internal/sandbox"
)

// Options configures a Driver. Driver, Prime and Prefix are required.
type Options struct {
	Driver sandbox.Driver // creates the sandboxes; must be a sandbox.SnapshotStore
	// Prime makes a restored sandbox different from all others of the same snapshot. awaited is false for a sandbox that
	// goes to a pool: Prime then also does slow work that makes its first answer fast.
	Prime func(ctx context.Context, sb sandbox.Sandbox, awaited bool) error
	// Prefix begins the names of shared snapshots. Sandboxes that are restored from these are primed, ready or not. All
	// other sandboxes are passed through.
	Prefix string

	// Broken is called when the snapshot of a pool cannot be restored. The pool is then not refilled until the next
	// call of Keep. Broken can be nil and must not block.
	Broken func(from string, err error)

	// Gone is called when a primed sandbox, or one that failed during Prime, is destroyed without ever having had an
	// owner. It can be nil and must not block.
	Gone func(id sandbox.ID)

	// Most is the largest number of sandboxes of one Kept to keep ready after a burst of calls. 0 means that the number
	// never exceeds Kept.Count.
	Most int

	Budget  float64                // share of one core for refilling; 0 means 0.5
	MinFree int64                  // bytes of memory to leave free; 0 means a tenth of the host's
	Memory  func() (Memory, error) // returns the host's memory; nil reads /proc/meminfo
	Logger  *slog.Logger           // nil: no log

	// Stalls calls notice whenever programs of the host start to wait for memory, until ctx ends. It returns an error if
	// it cannot. Nil means the kernel's pressure notices.
	Stalls func(ctx context.Context, notice func()) error
}

// Kept describes sandboxes to keep ready.
type Kept struct {
	Spec  sandbox.Spec // their specification and snapshot; ID and Labels are ignored
	Count int          // number of sandboxes without bursts; 0 means that none are kept ready, also after a burst
}

const (
	defaultBudget = 0.5
	// makeTimeout bounds the creation of one ready sandbox: a hundred times its usual time, because a loaded host is slow.
	// A sandbox that hangs must not block the others.
	makeTimeout = 30 * time.Second
	// destroyTimeout bounds the destruction of one sandbox.
	destroyTimeout = 30 * time.Second
	// tries is the number of failed creations after which a snapshot counts as broken, if the driver does not say so
	// itself. A host can be short of a resource for a moment.
	tries = 3
	// againFirst and againMost are the shortest and longest wait after a failure.
	againFirst = time.Second
	againMost  = time.Minute
)

// Driver keeps sandboxes ready. Its methods can be called from any goroutine. The caller must call Run once.
type Driver struct {
	o     Options
	wake  chan struct{} // capacity 1: wakes the loop of Run
	tasks sync.WaitGroup

	mu        sync.Mutex
	running   context.Context // the context of Run; nil before
	pools     []*pool         // in the order of their importance
	hidden    map[sandbox.ID]bool
	queue     []*waiter // creations that wait for a slot or a ready sandbox, in the order of Spec.Asked
	handed    time.Time // time at which a caller last got a sandbox
	freeSlots int       // number of creations that can start now
}

// pool holds the ready sandboxes of one Kept.
type pool struct {
	Kept
	demand
	ready    []*ready  // oldest first
	failures int       // in succession
	again    time.Time // time of the next attempt
	broken   bool
}

// ready is a sandbox without an owner.
type ready struct {
	sandbox sandbox.Sandbox
	unwatch context.CancelFunc
}

// New returns a driver that does not keep any sandbox ready yet.
func New(o Options) (*Driver, error) {
	if o.Driver == nil || o.Prime == nil || o.Prefix == "" {
		return nil, errors.New("warm: Driver, Prime and Prefix are required")
	}
	if _, ok := o.Driver.(sandbox.SnapshotStore); !ok || !o.Driver.Features().Snapshot {
		return nil, errors.New("warm: the driver cannot save sandboxes")
	}
	if o.Budget == 0 {
		o.Budget = defaultBudget
	}
	if o.Budget < 0 || o.Budget > 1 || o.MinFree < 0 || o.Most < 0 {
		return nil, fmt.Errorf("warm: Budget must be between 0 and 1 (got %v), and MinFree (got %d) and Most (got %d) must not be negative", o.Budget, o.MinFree, o.Most)
	}
	if o.Memory == nil {
		o.Memory = hostMemory
	}
	if o.Stalls == nil {
		o.Stalls = hostStalls
	}
	if o.Broken == nil {
		o.Broken = func(string, error) {}
	}
	if o.Gone == nil {
		o.Gone = func(sandbox.ID) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Driver{o: o, wake: make(chan struct{}, 1), hidden: map[sandbox.ID]bool{}, freeSlots: atOnce()}, nil
}

// atOnce returns the maximum number of concurrent creations for callers. One more than the number of processors keeps
// all processors busy while one creation waits. Twice as many would not be faster, and more calls would be overtaken by
// later ones.
func atOnce() int { return runtime.NumCPU() + 1 }

// Keep replaces the list of kept sandboxes. Ready sandboxes that match the new list stay, with the number that the last
// burst set; all others are destroyed.
func (d *Driver) Keep(want ...Kept) {
	d.mu.Lock()
	old := d.pools
	d.pools = nil
	for _, k := range want {
		s := &pool{Kept: k}
		for _, o := range old {
			if alike(o.Spec, k.Spec) {
				s.ready, s.demand, o.ready = o.ready, o.demand, nil
			}
		}
		d.pools = append(d.pools, s)
	}
	var outdated []*ready
	for _, s := range d.pools {
		if over := len(s.ready) - s.wanted(); over > 0 {
			outdated = append(outdated, s.ready[:over]...)
			s.ready = s.ready[over:]
		}
	}
	for _, o := range old {
		outdated = append(outdated, o.ready...)
	}
	for _, r := range outdated {
		d.discard(r)
	}
	d.mu.Unlock()
	d.wakeUp()
}

// Ready returns the number of ready sandboxes of a snapshot.
func (d *Driver) Ready(from string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, s := range d.pools {
		if s.Spec.From == from {
			n += len(s.ready)
		}
	}
	return n
}

// Wanted returns the number of sandboxes of a snapshot to keep ready now.
func (d *Driver) Wanted(from string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, k := range d.pools {
		if k.Spec.From == from {
			n += k.wanted()
		}
	}
	return n
}

// alike reports whether two specifications describe the same sandbox, apart from ID, labels and the time of the call.
func alike(a, b sandbox.Spec) bool {
	a.ID, b.ID, a.Labels, b.Labels = "", "", nil, nil
	a.Asked, b.Asked = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

// poolOf returns the pool for a specification, or nil. The caller must hold mu.
func (d *Driver) poolOf(s sandbox.Spec) *pool {
	for _, k := range d.pools {
		if alike(k.Spec, s) {
			return k
		}
	}
	return nil
}

// List returns the sandboxes that have an owner, or can have one. It hides ready sandboxes.
func (d *Driver) List(ctx context.Context) ([]sandbox.Info, error) {
	infos, err := d.o.Driver.List(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	shown := infos[:0]
	for _, info := range infos {
		if !d.hidden[info.ID] {
			shown = append(shown, info)
		}
	}
	return shown, nil
}

// Features returns the features of the inner driver. The methods below also call the inner driver.
func (d *Driver) Features() sandbox.Features { return d.o.Driver.Features() }

// Adopt takes over a sandbox of an earlier server.
func (d *Driver) Adopt(ctx context.Context, id sandbox.ID) (sandbox.Sandbox, error) {
	return d.o.Driver.Adopt(ctx, id)
}

// Remove destroys the remains of a sandbox.
func (d *Driver) Remove(ctx context.Context, id sandbox.ID) error { return d.o.Driver.Remove(ctx, id) }

// Snapshots lists the snapshots.
func (d *Driver) Snapshots(ctx context.Context) ([]sandbox.Snapshot, error) {
	return d.o.Driver.(sandbox.SnapshotStore).Snapshots(ctx)
}

// RemoveSnapshot removes a snapshot.
func (d *Driver) RemoveSnapshot(ctx context.Context, name string) error {
	return d.o.Driver.(sandbox.SnapshotStore).RemoveSnapshot(ctx, name)
}

// Close closes the driver inside. Run must have ended.
func (d *Driver) Close() error { return d.o.Driver.Close() }

// ours reports whether the snapshot is a shared one.
func (d *Driver) ours(from string) bool { return from != "" && strings.HasPrefix(from, d.o.Prefix) }

func (d *Driver) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
