// Package template owns templates: recipes of sessions that start fast, because one sandbox was started,
// warmed up and saved beforehand.
//
// It makes the snapshots, renews them on a schedule and when something they depend on has changed, removes
// those that nothing can continue from any more, and says which of them are to be kept warm. It refuses to
// know sessions: they ask what they can continue from, and start cold when the answer is "nothing".
//
// A server's snapshots are its own, because its home is; nothing here coordinates with another process.
// Templates.mu is held for changes of lists only; it comes before the locks of package warm.
package template

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/egress"
	"cellhold/internal/lazy"
	"cellhold/internal/packages"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/warm"
)

// Spec is a template as the operator wants it.
type Spec struct {
	Name     string
	Image    string
	Limits   cellhold.Limits // every field set
	Egress   cellhold.Egress
	Packages []string // requirements
	Warmup   string   // Python that leaves no names behind; "none" means none, and empty means Stock
	Warm     int      // sandboxes to keep ready
}

// Image is what a template's sandboxes are made from.
type Image struct{ Digest, Rootfs string }

// Options configures Templates. Driver, Images, Kernel and Logger are required.
type Options struct {
	Driver   sandbox.Driver                   // must be a sandbox.SnapshotStore
	Images   func(name string) (Image, error) // finds an image
	Packages *packages.Packages               // installs requirements; nil means that there are none
	Data     string                           // host folder shown at /mnt/data; empty means none
	Kernel   string                           // kernelspec of the sessions' first kernel, whose id it is too
	List     []Spec                           // the first is the default
	Logger   *slog.Logger

	Refresh time.Duration // a snapshot is made anew at this age; zero means a day
	Timeout time.Duration // one must be made within; zero means 5 min, and what installing takes beside it

	Budget  float64 // see warm.Options
	MinFree int64   // likewise
}

const (
	// defaultRefresh is how often a snapshot is made anew: all that continue from one share its hash
	// seed and its addresses, so that what was learnt of one is worth something for this long.
	defaultRefresh = 24 * time.Hour
	// defaultTimeout bounds the making of one. It takes 4 s on an idle machine.
	defaultTimeout = 5 * time.Minute
	// prefix begins the names of all snapshots of templates, and of no others.
	prefix = "tpl-"
	// againFirst and againMost bound the wait after a failure.
	againFirst = 5 * time.Second
	againMost  = time.Hour
	// complaints is how many sessions may fail to continue from a snapshot for reasons that are not said
	// to be its own, before it is made anew.
	complaints = 3
)

// Templates are the templates of a server. Its methods may be called from any goroutine; Run is called once.
type Templates struct {
	o    Options
	warm *warm.Driver
	wake chan struct{} // capacity 1: something may be due

	mu   sync.Mutex
	list []*entry
	met  map[sandbox.ID]acquaintance // of sandboxes that no session has yet
}

// entry is one template with what is known of its snapshot.
type entry struct {
	Spec
	out  bool   // its sessions have a way out
	code string // the warm-up as it is run

	snapshot  string       // empty when nothing can continue from it
	base      sandbox.Spec // what the sandbox was that it was taken of
	installed []cellhold.Package
	built     time.Time
	size      int64

	spoilt   string // a snapshot that is to be removed
	doubted  bool   // its image may be another one now
	problem  string
	failures int       // in a row
	blamed   int       // since it was made
	due      time.Time // when to make it; the zero time is at once
}

var validName = lazy.Regexp(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// New returns templates that have no snapshots yet.
func New(o Options) (*Templates, error) {
	if o.Driver == nil || o.Images == nil || o.Kernel == "" || o.Logger == nil {
		return nil, errors.New("template: Driver, Images, Kernel and Logger are required")
	}
	if o.Refresh == 0 {
		o.Refresh = defaultRefresh
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Refresh < 0 || o.Timeout < 0 {
		return nil, fmt.Errorf("template: neither the age of snapshots (%s) nor the time to make one (%s) is negative", o.Refresh, o.Timeout)
	}
	t := &Templates{o: o, wake: make(chan struct{}, 1), met: map[sandbox.ID]acquaintance{}}
	for _, s := range o.List {
		e, err := o.check(s)
		if err != nil {
			return nil, err
		}
		if t.find(e.Name) != nil {
			return nil, fmt.Errorf("there are two templates %q", e.Name)
		}
		t.list = append(t.list, e)
	}
	var err error
	t.warm, err = warm.New(warm.Options{Driver: o.Driver, Prime: t.prime, Prefix: prefix, Broken: t.Failed, Gone: t.gone,
		Budget: o.Budget, MinFree: o.MinFree, Logger: o.Logger})
	return t, err
}

// check refuses what could never be made.
func (o *Options) check(s Spec) (*entry, error) {
	switch {
	case !validName().MatchString(s.Name):
		return nil, fmt.Errorf("the name of a template is 1 to 40 small letters, digits, '.', '_' or '-', and begins with a letter or digit, not %q", s.Name)
	case s.Image == "":
		return nil, fmt.Errorf("template %s: it names no image", s.Name)
	case s.Warm < 0:
		return nil, fmt.Errorf("template %s: %d sandboxes cannot be kept ready", s.Name, s.Warm)
	}
	policy, err := egress.NewPolicy(s.Egress)
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", s.Name, err)
	}
	if len(s.Packages) > 0 {
		if o.Packages == nil {
			return nil, fmt.Errorf("template %s: nothing can be installed here", s.Name)
		}
		if _, err := o.Packages.Plan(packages.Request{Requirements: s.Packages}); err != nil {
			return nil, fmt.Errorf("template %s: %w", s.Name, err)
		}
	}
	return &entry{Spec: s, out: !policy.None(), code: warmup(s.Warmup)}, nil
}

// Driver is the driver for the sessions' sandboxes: it hands out those that are ready.
func (t *Templates) Driver() sandbox.Driver { return t.warm }

// Find returns the template of that name; without a name the default one, or nothing where there is none.
func (t *Templates) Find(name string) (cellhold.Template, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == "" && len(t.list) == 0 {
		return cellhold.Template{}, nil
	}
	if name == "" {
		return t.describe(t.list[0]), nil
	}
	if e := t.find(name); e != nil {
		return t.describe(e), nil
	}
	var names []string
	for _, e := range t.list {
		names = append(names, e.Name)
	}
	return cellhold.Template{}, cellhold.Errorf(cellhold.NotFound, "There is no template %.100q; this server has: %s.", name, or(strings.Join(names, ", "), "none"))
}

// or is text, or something else where there is none.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// List describes all templates, the default one first.
func (t *Templates) List() []cellhold.Template {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]cellhold.Template, 0, len(t.list))
	for _, e := range t.list {
		list = append(list, t.describe(e))
	}
	return list
}

// find returns the template of that name. The caller holds mu.
func (t *Templates) find(name string) *entry {
	if i := slices.IndexFunc(t.list, func(e *entry) bool { return e.Name == name }); i >= 0 {
		return t.list[i]
	}
	return nil
}

// describe says what a template is and has. The caller holds mu.
func (t *Templates) describe(e *entry) cellhold.Template {
	d := cellhold.Template{Name: e.Name, Image: e.Image, Limits: e.Limits, Egress: e.Egress, Packages: e.Packages,
		Warmup: e.Warmup, Warm: e.Warm, State: cellhold.TemplateBuilding, Problem: e.problem}
	switch {
	case e.snapshot != "":
		d.State, d.Built, d.Size, d.Ready = cellhold.TemplateReady, e.built, e.size, t.warm.Ready(e.snapshot)
	case e.problem != "":
		d.State = cellhold.TemplateFailed
	}
	return d
}

// Start says what the sandbox of a session that was made from a template can continue from, and what was
// installed there; empty when it must start cold. out is whether the session has a way out.
func (t *Templates) Start(name string, s sandbox.Spec, out bool) (from string, installed []cellhold.Package) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(name)
	if e == nil || e.snapshot == "" || e.out != out {
		return "", nil
	}
	if s.Rootfs != e.base.Rootfs || s.Image != e.base.Image {
		e.doubted = true // the image has been built anew, unless the session asked for another one
		t.nudge()
		return "", nil
	}
	// With more or less memory it can go on; libraries have settled on the number of cores at their start.
	l := s.Limits
	l.Memory = e.base.Limits.Memory
	if s.Data != e.base.Data || l != e.base.Limits {
		return "", nil
	}
	return e.snapshot, e.installed
}

// Failed is told that a sandbox could not continue from a snapshot. The snapshot is given up if it is the
// reason; sessions start cold until there is another.
func (t *Templates) Failed(from string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.list {
		if from == "" || e.snapshot != from {
			continue
		}
		if e.blamed++; !errors.Is(err, sandbox.ErrSnapshot) && e.blamed < complaints {
			return
		}
		t.o.Logger.Error("a template's snapshot cannot be used and is made anew", "template", e.Name, "snapshot", from, "err", err)
		e.snapshot, e.spoilt = "", from
		e.fail("Nothing could continue from its snapshot, which is made anew.")
		t.nudge()
	}
}

// fail notes what went wrong, and when to make a snapshot. The caller holds the lock of the templates.
func (e *entry) fail(problem string) {
	e.problem = problem
	e.failures++
	e.due = time.Now().Add(min(againFirst<<(e.failures-1), againMost))
}

func (t *Templates) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run makes snapshots when they are due, and keeps sandboxes ready, until the context ends.
func (t *Templates) Run(ctx context.Context) {
	var warming sync.WaitGroup
	defer warming.Wait()
	warming.Go(func() { t.warm.Run(ctx) })
	t.recall(ctx)
	for ctx.Err() == nil {
		t.keep()
		t.doubt()
		e, wait := t.next()
		if e != nil {
			t.renew(ctx, e)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.wake:
		}
		timer.Stop()
	}
}

// doubt makes templates due whose image has been replaced.
func (t *Templates) doubt() {
	for _, e := range t.entries() {
		t.mu.Lock()
		doubted, was := e.doubted, e.base
		e.doubted = false
		t.mu.Unlock()
		if !doubted {
			continue
		}
		if is, err := t.base(e); err == nil && (is.Image != was.Image || is.Rootfs != was.Rootfs) {
			t.mu.Lock()
			e.due = time.Time{}
			t.mu.Unlock()
		}
	}
}

// next returns a template that is due, or how long none will be.
func (t *Templates) next() (*entry, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := t.o.Refresh
	for _, e := range t.list {
		left := time.Until(e.due)
		if left <= 0 {
			return e, 0
		}
		wait = min(wait, left)
	}
	return nil, wait
}

// keep says which sandboxes are to be ready.
func (t *Templates) keep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept []warm.Kept
	for _, e := range t.list {
		if e.snapshot != "" {
			s := e.base
			s.From = e.snapshot
			kept = append(kept, warm.Kept{Spec: s, Count: e.Warm})
		}
	}
	t.warm.Keep(kept...)
}
