// Package template manages templates: recipes of sessions that start fast from the snapshot of a warmed-up sandbox.
//
// It builds the snapshots, and rebuilds them on a schedule and when their inputs change. It removes unusable snapshots,
// and decides which snapshots have warm sandboxes. It knows no sessions: a session asks for a snapshot, and starts cold
// if there is none.
//
// The snapshots are in the home of one server, so the package does not coordinate with other processes. Templates.mu is
// held only for changes of lists. It comes before the locks of package warm.
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

// Spec is a template as the operator configures it.
type Spec struct {
	Name     string
	Image    string
	Limits   cellhold.Limits // every field set
	Egress   cellhold.Egress
	Packages []string // requirements
	Warmup   string   // Python code that defines no names; "none" disables the warm-up, and empty means the stock code
	Warm     int      // number of sandboxes to keep ready while there is no burst of new sessions
}

// Image is the image of a template's sandboxes.
type Image struct{ Digest, Rootfs string }

// Options configures Templates. Driver, Images, Kernel and Logger are required.
type Options struct {
	Driver   sandbox.Driver                   // must be a sandbox.SnapshotStore
	Images   func(name string) (Image, error) // finds an image
	Packages *packages.Packages               // installs requirements; nil if no template has any
	Data     string                           // host folder shown at /mnt/data; can be empty
	Kernel   string                           // kernelspec of the sessions' first kernel, and also the id of that kernel
	List     []Spec                           // the first is the default
	Logger   *slog.Logger

	Refresh time.Duration // age at which a snapshot is rebuilt; 0 means a day
	Timeout time.Duration // time limit of a build; 0 means 5 min; the time for packages is added

	MaxWarm int     // warm.Options.Most
	Budget  float64 // see warm.Options
	MinFree int64   // see warm.Options
}

const (
	// defaultRefresh is the default age at which a snapshot is rebuilt. All sandboxes of a snapshot share its hash seed and
	// its memory addresses. So an attacker that knows them from one sandbox can use them for this long.
	defaultRefresh = 24 * time.Hour
	// defaultTimeout bounds the build of a snapshot. It takes 4 s on an idle machine.
	defaultTimeout = 5 * time.Minute
	// prefix begins the names of all snapshots of templates. Other snapshots have other names.
	prefix = "tpl-"
	// retryFirst and retryMost are the shortest and longest wait after a failure.
	retryFirst = 5 * time.Second
	retryMost  = time.Hour
	// maxUnexplained is the number of unexplained failures of sessions after which a snapshot is rebuilt.
	maxUnexplained = 3
)

// Templates are the templates of a server. Its methods can be called from any goroutine. The caller must call Run once.
type Templates struct {
	o    Options
	warm *warm.Driver
	wake chan struct{} // capacity 1: wakes the loop of Run

	mu     sync.Mutex
	list   []*entry
	primed map[sandbox.ID]primedAgent // clients of primed sandboxes that have no session yet
}

// entry is one template with the state of its snapshot.
type entry struct {
	Spec
	out  bool   // its sessions have network access
	code string // the wrapped warm-up code

	snapshot  string       // empty if there is no usable snapshot
	base      sandbox.Spec // the specification of the saved sandbox
	installed []cellhold.Package
	built     time.Time
	size      int64

	unusable     string // an unusable snapshot to remove
	imageChanged bool   // its image can have changed
	problem      string
	failures     int       // successive failures
	unexplained  int       // failures of sessions since the build
	due          time.Time // time of the next build; zero means now
}

var validName = lazy.Regexp(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// New returns templates without snapshots.
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
		return nil, fmt.Errorf("template: Refresh (%s) and Timeout (%s) must not be negative", o.Refresh, o.Timeout)
	}
	t := &Templates{o: o, wake: make(chan struct{}, 1), primed: map[sandbox.ID]primedAgent{}}
	for _, s := range o.List {
		e, err := o.check(s)
		if err != nil {
			return nil, err
		}
		if t.find(e.Name) != nil {
			return nil, fmt.Errorf("two templates have the name %q: rename one of them", e.Name)
		}
		t.list = append(t.list, e)
	}
	var err error
	t.warm, err = warm.New(warm.Options{Driver: o.Driver, Prime: t.prime, Prefix: prefix, Broken: t.Failed, Gone: t.forget,
		Most: o.MaxWarm, Budget: o.Budget, MinFree: o.MinFree, Logger: o.Logger})
	return t, err
}

// check refuses invalid templates.
func (o *Options) check(s Spec) (*entry, error) {
	switch {
	case !validName().MatchString(s.Name):
		return nil, fmt.Errorf("invalid template name %q: use 1 to 40 lower-case letters, digits, '.', '_' or '-', and begin with a letter or digit", s.Name)
	case s.Image == "":
		return nil, fmt.Errorf("template %s: the image is missing", s.Name)
	case s.Warm < 0:
		return nil, fmt.Errorf("template %s: warm must not be negative (got %d)", s.Name, s.Warm)
	}
	policy, err := egress.NewPolicy(s.Egress)
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", s.Name, err)
	}
	if len(s.Packages) > 0 {
		if o.Packages == nil {
			return nil, fmt.Errorf("template %s: packages cannot be installed on this server", s.Name)
		}
		if _, err := o.Packages.Plan(packages.Request{Requirements: s.Packages}); err != nil {
			return nil, fmt.Errorf("template %s: %w", s.Name, err)
		}
	}
	return &entry{Spec: s, out: !policy.None(), code: warmup(s.Warmup)}, nil
}

// Driver returns the driver for the sandboxes of sessions. Its Create returns a ready sandbox if there is one.
func (t *Templates) Driver() sandbox.Driver { return t.warm }

// Find returns the template with this name. An empty name means the default template, which can be missing.
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
	return cellhold.Template{}, cellhold.Errorf(cellhold.NotFound, "Template %.100q not found. This server has: %s.", name, or(strings.Join(names, ", "), "none"))
}

// or returns text, or otherwise if text is empty.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// List describes all templates, the default first.
func (t *Templates) List() []cellhold.Template {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]cellhold.Template, 0, len(t.list))
	for _, e := range t.list {
		list = append(list, t.describe(e))
	}
	return list
}

// find returns the template with this name, or nil. The caller must hold mu.
func (t *Templates) find(name string) *entry {
	if i := slices.IndexFunc(t.list, func(e *entry) bool { return e.Name == name }); i >= 0 {
		return t.list[i]
	}
	return nil
}

// describe returns the public description of a template. The caller must hold mu.
func (t *Templates) describe(e *entry) cellhold.Template {
	d := cellhold.Template{Name: e.Name, Image: e.Image, Limits: e.Limits, Egress: e.Egress, Packages: e.Packages,
		Warmup: e.Warmup, Warm: e.Warm, Wanted: e.Warm, State: cellhold.TemplateBuilding, Problem: e.problem}
	switch {
	case e.snapshot != "":
		d.State, d.Built, d.Size = cellhold.TemplateReady, e.built, e.size
		d.Ready, d.Wanted = t.warm.Ready(e.snapshot), max(e.Warm, t.warm.Wanted(e.snapshot))
	case e.problem != "":
		d.State = cellhold.TemplateFailed
	}
	return d
}

// Start returns the snapshot from which a session of a template can start, and the packages in it. It returns "" if the
// session must start cold. out says whether the session has network access.
func (t *Templates) Start(name string, s sandbox.Spec, out bool) (from string, installed []cellhold.Package) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(name)
	if e == nil || e.snapshot == "" || e.out != out {
		return "", nil
	}
	if s.Rootfs != e.base.Rootfs || s.Image != e.base.Image {
		e.imageChanged = true // the image was rebuilt, or the session requested another one
		t.wakeUp()
		return "", nil
	}
	// A different memory limit is possible. The number of cores is fixed, because libraries read it at their start.
	l := s.Limits
	l.Memory = e.base.Limits.Memory
	if s.Data != e.base.Data || l != e.base.Limits {
		return "", nil
	}
	return e.snapshot, e.installed
}

// Failed records that a sandbox could not be restored from a snapshot. If the snapshot is the reason, or after
// maxUnexplained failures, sessions start cold until there is a new snapshot.
func (t *Templates) Failed(from string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.list {
		if from == "" || e.snapshot != from {
			continue
		}
		if e.unexplained++; !errors.Is(err, sandbox.ErrSnapshot) && e.unexplained < maxUnexplained {
			return
		}
		t.o.Logger.Error("a template's snapshot cannot be restored; rebuilding it", "template", e.Name, "snapshot", from, "err", err)
		e.snapshot, e.unusable = "", from
		e.fail("The snapshot could not be restored and is being rebuilt.")
		t.wakeUp()
	}
}

// fail records a problem and sets the time of the next build. The caller must hold the mutex of the templates.
func (e *entry) fail(problem string) {
	e.problem = problem
	e.failures++
	e.due = time.Now().Add(min(retryFirst<<(e.failures-1), retryMost))
}

func (t *Templates) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run builds snapshots when they are due, and keeps sandboxes ready, until the context ends.
func (t *Templates) Run(ctx context.Context) {
	var warming sync.WaitGroup
	defer warming.Wait()
	warming.Go(func() { t.warm.Run(ctx) })
	t.adoptSnapshots(ctx)
	for ctx.Err() == nil {
		t.keep()
		t.checkImages()
		e, wait := t.next()
		if e != nil {
			t.rebuild(ctx, e)
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

// checkImages makes templates due if their image was replaced.
func (t *Templates) checkImages() {
	for _, e := range t.entries() {
		t.mu.Lock()
		imageChanged, was := e.imageChanged, e.base
		e.imageChanged = false
		t.mu.Unlock()
		if !imageChanged {
			continue
		}
		if is, err := t.base(e); err == nil && (is.Image != was.Image || is.Rootfs != was.Rootfs) {
			t.mu.Lock()
			e.due = time.Time{}
			t.mu.Unlock()
		}
	}
}

// next returns a template that is due. If none is due, it returns nil and the time until the next one is.
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

// keep tells the warm driver which sandboxes to keep ready.
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
