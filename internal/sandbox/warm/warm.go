// Package warm keeps sandboxes ready: it is a driver around a driver.
//
// Kept sandboxes continue from snapshots, are primed, and wait. Create hands the oldest one out that is
// as asked for; where none is ready it makes one, in the order in which it was asked. Each is handed out
// once and never taken back. The shelf is filled up in the background, within a share of one processor
// core, and emptied when the host's memory is short.
//
// It refuses to know what makes two sandboxes of one snapshot differ: Options.Prime does that, for
// every sandbox that continues from a snapshot of many, also one that was asked for with limits of its own.
//
// Driver.mu is held for changes of the lists only, never while a sandbox is made, marked or destroyed.
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
	Driver sandbox.Driver // makes the sandboxes; must be a sandbox.Shelf
	// Prime makes a sandbox that continues from a snapshot unlike all others that do. One that is not
	// awaited, but made for the shelf, is also made quick to answer, as far as that takes time.
	Prime func(ctx context.Context, sb sandbox.Sandbox, awaited bool) error
	// Prefix begins the names of the snapshots that many sandboxes continue from. What continues from
	// one of them is primed, kept or not; what continues from another one is not touched.
	Prefix string

	// Broken is told that nothing can be made from a kept snapshot, which is not tried again until Keep
	// is called. Nil means nobody. It must not block.
	Broken func(from string, err error)

	// Gone is told that a sandbox which was primed, or was to be, is destroyed without anybody having had
	// it. Nil means nobody. It must not block.
	Gone func(id sandbox.ID)

	Budget  float64                // share of one core that may be spent on filling up; zero means 0.5
	MinFree int64                  // bytes of memory that are left to others; zero means a tenth of the host's
	Memory  func() (Memory, error) // of the host; nil means what /proc/meminfo says
	Logger  *slog.Logger           // nil discards

	// Stalls calls notice whenever programs of the host have begun to wait for memory, until ctx ends. An
	// error says why it cannot. Nil means that the kernel is asked.
	Stalls func(ctx context.Context, notice func()) error
}

// Kept asks for sandboxes to be kept ready.
type Kept struct {
	Spec  sandbox.Spec // what they are, and the snapshot they continue from; ID and Labels do not count
	Count int          // how many; none is allowed
}

const (
	defaultBudget = 0.5
	// makeTimeout bounds the making of one for the shelf: a hundred times what it takes, because a
	// loaded host is slow, and a sandbox that hangs must not keep the others from being made.
	makeTimeout = 30 * time.Second
	// destroyTimeout bounds the destruction of one.
	destroyTimeout = 30 * time.Second
	// tries is how often one is made from a snapshot in vain before it counts as broken, when the driver
	// does not say that it is: a host may be short of something for a moment.
	tries = 3
	// againFirst and againMost bound the wait after a failure.
	againFirst = time.Second
	againMost  = time.Minute
)

// Driver keeps sandboxes ready. Its methods may be called from any goroutine; Run is called once.
type Driver struct {
	o     Options
	wake  chan struct{} // capacity 1: there is something for the filler to look at
	tasks sync.WaitGroup

	mu      sync.Mutex
	running context.Context // Run's; nil before, and done afterwards
	shelves []*shelf        // the most important first
	hidden  map[sandbox.ID]bool
	queue   []*waiter // creations that wait for their turn or for a ready one, the oldest first
	handed  time.Time // when one was handed out last
	turns   int       // free ones of those that make sandboxes at once
}

// shelf is what is kept of one Kept.
type shelf struct {
	Kept
	ready    []*ready  // the oldest first
	failures int       // in a row
	again    time.Time // none is made before
	broken   bool
}

// ready is a sandbox that nobody has yet.
type ready struct {
	sandbox sandbox.Sandbox
	unwatch context.CancelFunc
}

// New returns a driver that keeps nothing yet.
func New(o Options) (*Driver, error) {
	if o.Driver == nil || o.Prime == nil || o.Prefix == "" {
		return nil, errors.New("warm: Driver, Prime and Prefix are required")
	}
	if _, ok := o.Driver.(sandbox.Shelf); !ok || !o.Driver.Features().Snapshot {
		return nil, errors.New("warm: the driver makes no snapshots")
	}
	if o.Budget == 0 {
		o.Budget = defaultBudget
	}
	if o.Budget < 0 || o.Budget > 1 || o.MinFree < 0 {
		return nil, fmt.Errorf("warm: the budget is a share of one core, not %v, and the memory for others is not negative", o.Budget)
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
	return &Driver{o: o, wake: make(chan struct{}, 1), hidden: map[sandbox.ID]bool{}, turns: atOnce()}, nil
}

// atOnce is how many sandboxes are made at the same time: with one more than there are processors these are
// busy while one waits. With twice as many nothing is ready earlier, and more calls are overtaken by later ones.
func atOnce() int { return runtime.NumCPU() + 1 }

// Keep replaces what is kept. Ready ones that are still wanted stay, all others are destroyed.
func (d *Driver) Keep(want ...Kept) {
	d.mu.Lock()
	old := d.shelves
	d.shelves = nil
	for _, k := range want {
		s := &shelf{Kept: k}
		for _, o := range old {
			if alike(o.Spec, k.Spec) {
				s.ready, o.ready = o.ready, nil
			}
		}
		d.shelves = append(d.shelves, s)
	}
	var outdated []*ready
	for _, s := range d.shelves {
		if over := len(s.ready) - max(s.Count, 0); over > 0 {
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
	d.nudge()
}

// Ready says how many are ready that continue from that snapshot.
func (d *Driver) Ready(from string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, s := range d.shelves {
		if s.Spec.From == from {
			n += len(s.ready)
		}
	}
	return n
}

// alike reports whether two specs ask for the same sandbox, whatever it is called.
func alike(a, b sandbox.Spec) bool {
	a.ID, b.ID, a.Labels, b.Labels = "", "", nil, nil
	return reflect.DeepEqual(a, b)
}

// shelfOf returns the shelf for a spec, nil when nothing of the sort is kept. The caller holds mu.
func (d *Driver) shelfOf(s sandbox.Spec) *shelf {
	for _, k := range d.shelves {
		if alike(k.Spec, s) {
			return k
		}
	}
	return nil
}

// List returns the sandboxes that are somebody's, or could be. Those that are kept ready are not.
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

// Features are those of the driver inside, as are the following methods.
func (d *Driver) Features() sandbox.Features { return d.o.Driver.Features() }

// Adopt takes over a sandbox of an earlier server.
func (d *Driver) Adopt(ctx context.Context, id sandbox.ID) (sandbox.Sandbox, error) {
	return d.o.Driver.Adopt(ctx, id)
}

// Remove destroys what is left of a sandbox.
func (d *Driver) Remove(ctx context.Context, id sandbox.ID) error { return d.o.Driver.Remove(ctx, id) }

// Snapshots lists the snapshots.
func (d *Driver) Snapshots(ctx context.Context) ([]sandbox.Snapshot, error) {
	return d.o.Driver.(sandbox.Shelf).Snapshots(ctx)
}

// RemoveSnapshot removes a snapshot.
func (d *Driver) RemoveSnapshot(ctx context.Context, name string) error {
	return d.o.Driver.(sandbox.Shelf).RemoveSnapshot(ctx, name)
}

// Close closes the driver inside. Run must have ended.
func (d *Driver) Close() error { return d.o.Driver.Close() }

// ours reports whether many sandboxes continue from that snapshot.
func (d *Driver) ours(from string) bool { return from != "" && strings.HasPrefix(from, d.o.Prefix) }

func (d *Driver) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
