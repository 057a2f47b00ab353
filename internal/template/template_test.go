package template_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/template"
)

// tolerant returns the script of a toy kernel that accepts all Python code except one import.
func tolerant() jupytertest.Script {
	toy := jupytertest.Toy()
	return func(c *jupytertest.Cell) {
		switch {
		case !strings.HasPrefix(c.Code, "exec("):
			toy(c)
		case strings.Contains(c.Code, "impossible"):
			c.Fail("ImportError", "no module")
		}
	}
}

var limits = cellhold.Limits{Memory: 1 << 30, CPU: 1, Processes: 64, Disk: 1 << 20, Tmp: 1 << 20, Output: 1 << 20}

// plain is the template of most tests.
func plain() template.Spec {
	return template.Spec{Name: "plain", Image: "toy", Limits: limits, Warm: 1}
}

// open returns running templates in a world.
func open(t *testing.T, w *fake.World, list ...template.Spec) (*template.Templates, func()) {
	t.Helper()
	return run(t, made(t, w.Open(), list...))
}

// run runs templates until stop is called.
func run(t *testing.T, x *template.Templates) (*template.Templates, func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { x.Run(ctx) })
	stop := func() { cancel(); run.Wait() }
	t.Cleanup(stop)
	return x, stop
}

// made returns templates that are not running.
func made(t *testing.T, d sandbox.Driver, list ...template.Spec) *template.Templates {
	t.Helper()
	x, err := template.New(template.Options{
		Driver: d, Kernel: "toy", List: list, MaxWarm: 3, Budget: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Images: func(name string) (template.Image, error) { return template.Image{Digest: name, Rootfs: "/"}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func world(t *testing.T) *fake.World {
	t.Helper()
	w, err := fake.NewWorld(context.Background(), fake.Options{Dir: t.TempDir(), Script: tolerant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// await polls until the first template meets the condition, and returns it. There are no events about templates.
func await(t *testing.T, x *template.Templates, wanted func(cellhold.Template) bool) cellhold.Template {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	late := time.After(20 * time.Second)
	for {
		if now := x.List()[0]; wanted(now) {
			return now
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("the template is still %+v", x.List()[0])
		}
	}
}

func warmed(x cellhold.Template) bool { return x.Ready > 0 }

// spec is the specification of a session.
func spec(id string) sandbox.Spec {
	return sandbox.Spec{ID: sandbox.ID(id), Rootfs: "/", Image: "toy", Limits: sandbox.Limits{Memory: 1 << 30, CPU: 1, Processes: 64, Disk: 1 << 20, Tmp: 1 << 20, Output: 1 << 20}}
}

func TestASessionGetsAReadySandboxAndItsPrimedClient(t *testing.T) {
	x, _ := open(t, world(t), plain())
	await(t, x, warmed)
	s := spec("s0000000000000000-0000")
	s.From, _ = x.Start("plain", s, false)
	sb, err := x.Driver().Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if sb.ID() == s.ID || len(sb.ID()) != len(s.ID) {
		t.Errorf("got the sandbox %s; want a ready one, with an id of the length of %s", sb.ID(), s.ID)
	}
	client, met := x.PrimedClient(sb.ID())
	if client == nil {
		t.Fatal("the sandbox was not primed")
	}
	defer client.Close()
	if info, err := client.Info(t.Context()); err != nil || info.Boot != met.Boot || len(met.Kernels) != 1 {
		t.Errorf("the primed agent was %+v, and now it is %+v (%v)", met, info, err)
	}
	if again, _ := x.PrimedClient(sb.ID()); again != nil {
		t.Error("PrimedClient returned the client twice")
	}
}

func TestAfterABurstMoreSandboxesAreReady(t *testing.T) {
	x, _ := open(t, world(t), plain())
	if now := await(t, x, warmed); now.Wanted != now.Warm {
		t.Errorf("without a burst the template wants %d sandboxes, want %d", now.Wanted, now.Warm)
	}
	var burst sync.WaitGroup
	for i := range 20 {
		burst.Go(func() {
			s := spec(fmt.Sprintf("s%016d-0000", i))
			s.From, _ = x.Start("plain", s, false)
			sb, err := x.Driver().Create(t.Context(), s)
			if err != nil {
				t.Error(err)
				return
			}
			if client, _ := x.PrimedClient(sb.ID()); client != nil {
				client.Close()
			}
		})
	}
	burst.Wait()
	now := await(t, x, func(now cellhold.Template) bool { return now.Ready > now.Warm })
	if now.Wanted != 3 {
		t.Errorf("after a burst of 20 the template wants %d sandboxes, want the maximum of 3", now.Wanted)
	}
}

func TestOnlyMatchingSessionsContinueFromTheSnapshot(t *testing.T) {
	x, _ := open(t, world(t), plain())
	await(t, x, warmed)
	for _, tt := range []struct {
		name   string
		change func(*sandbox.Spec)
		out    bool
		fits   bool
	}{
		{"the same specification", func(s *sandbox.Spec) {}, false, true},
		{"more memory", func(s *sandbox.Spec) { s.Limits.Memory *= 2 }, false, true},
		{"more cores", func(s *sandbox.Spec) { s.Limits.CPU = 2 }, false, false},
		{"another disk", func(s *sandbox.Spec) { s.Limits.Disk *= 2 }, false, false},
		{"another image", func(s *sandbox.Spec) { s.Image = "new" }, false, false},
		{"a data folder", func(s *sandbox.Spec) { s.Data = "/data" }, false, false},
		{"network access", func(s *sandbox.Spec) {}, true, false},
	} {
		s := spec("s")
		tt.change(&s)
		if from, _ := x.Start("plain", s, tt.out); (from != "") != tt.fits {
			t.Errorf("%s: Start returned the snapshot %q", tt.name, from)
		}
	}
	if from, _ := x.Start("unknown", spec("s"), false); from != "" {
		t.Errorf("an unknown template has the snapshot %s", from)
	}
}

func TestTheNextServerUsesTheSnapshotOrBuildsAnother(t *testing.T) {
	w := world(t)
	x, stop := open(t, w, plain())
	first := await(t, x, warmed)
	stop()
	x, stop = open(t, w, plain())
	if again := await(t, x, warmed); !again.Built.Equal(first.Built) {
		t.Error("the snapshot was rebuilt")
	}
	stop()
	changed := plain()
	changed.Warmup = "something = 'else'"
	x, stop = open(t, w, changed)
	if other := await(t, x, warmed); other.Built.Equal(first.Built) {
		t.Error("other warm-up code continues from the old snapshot")
	}
	stop()
	if names := w.SnapshotNames(); len(names) != 1 {
		t.Errorf("the snapshots are %v", names)
	}
	_, stop = open(t, w)
	stop()
	x, _ = open(t, w, plain())
	await(t, x, warmed)
}

func TestLookReportsTheSnapshotsAndChangesNothing(t *testing.T) {
	w := world(t)
	look := func(s template.Spec) (cellhold.Template, string) {
		t.Helper()
		before := w.SnapshotNames()
		x := made(t, w.Open(), s)
		outdated, err := x.Look(t.Context())
		if after := w.SnapshotNames(); err != nil || !slices.Equal(before, after) {
			t.Errorf("the snapshots were %v and are now %v (%v)", before, after, err)
		}
		return x.List()[0], outdated[s.Name]
	}
	if now, outdated := look(plain()); now.State == cellhold.TemplateReady || outdated != "" {
		t.Errorf("without a snapshot: %+v, %q", now, outdated)
	}
	x, stop := open(t, w, plain())
	built := await(t, x, warmed).Built
	stop()
	if now, outdated := look(plain()); now.State != cellhold.TemplateReady || !now.Built.Equal(built) || outdated != "" {
		t.Errorf("with a usable snapshot: %+v, %q", now, outdated)
	}
	changed := plain()
	changed.Warmup = "something = 'else'"
	if now, outdated := look(changed); now.State == cellhold.TemplateReady || !strings.Contains(outdated, "other settings") {
		t.Errorf("with a snapshot of other settings: %+v, %q", now, outdated)
	}
	if err := w.Spoil(w.SnapshotNames()[0]); err != nil {
		t.Fatal(err)
	}
	if now, outdated := look(plain()); now.State == cellhold.TemplateReady || outdated != "it is damaged" {
		t.Errorf("with a damaged snapshot: %+v, %q", now, outdated)
	}
}

// upgraded is the driver of a server after an upgrade of the agent.
type upgraded struct {
	*fake.Driver
	since time.Time
}

func (u upgraded) Snapshots(ctx context.Context) ([]sandbox.Snapshot, error) {
	all, err := u.Driver.Snapshots(ctx)
	for i := range all {
		all[i].Former = all[i].Created.Before(u.since)
	}
	return all, err
}

func TestASnapshotWithAFormerAgentIsRebuilt(t *testing.T) {
	w := world(t)
	x, stop := open(t, w, plain())
	first := await(t, x, warmed)
	stop()
	x, _ = run(t, made(t, upgraded{w.Open(), time.Now()}, plain()))
	if again := await(t, x, warmed); !again.Built.After(first.Built) {
		t.Error("sessions start with the former agent")
	}
}

func TestASnapshotThatCannotBeRestoredIsDropped(t *testing.T) {
	for _, tt := range []struct {
		err   error
		times int
	}{{fmt.Errorf("create: %w", sandbox.ErrSnapshot), 1}, {fmt.Errorf("unexplained"), 3}} {
		x, _ := open(t, world(t), plain())
		await(t, x, warmed)
		for i := range tt.times {
			from, _ := x.Start("plain", spec("s"), false)
			if from == "" {
				t.Fatalf("%v: the snapshot was dropped after %d failures", tt.err, i)
			}
			x.Failed(from, tt.err)
		}
		if from, _ := x.Start("plain", spec("s"), false); from != "" {
			t.Errorf("%v: sessions still start from %s", tt.err, from)
		}
		if now := x.List()[0]; now.State == cellhold.TemplateReady || now.Problem == "" {
			t.Errorf("the template is %+v", now)
		}
	}
}

func TestATemplateThatCannotBeBuiltHasTheReason(t *testing.T) {
	bad := plain()
	bad.Warmup = "import impossible"
	x, _ := open(t, world(t), bad)
	now := await(t, x, func(x cellhold.Template) bool { return x.State == cellhold.TemplateFailed })
	if !strings.Contains(now.Problem, "ImportError: no module") {
		t.Errorf("the problem is %q", now.Problem)
	}
	if _, err := x.Find("good"); cellhold.KindOf(err) != cellhold.NotFound || !strings.Contains(err.Error(), "plain") {
		t.Errorf("got %v, want an error with the existing names", err)
	}
}

func TestInvalidTemplatesAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*template.Spec){
		"a name with a slash":  func(s *template.Spec) { s.Name = "a/b" },
		"no image":             func(s *template.Spec) { s.Image = "" },
		"a negative number":    func(s *template.Spec) { s.Warm = -1 },
		"an unknown policy":    func(s *template.Spec) { s.Egress.Policy = "some" },
		"no package installer": func(s *template.Spec) { s.Packages = []string{"tabulate"} },
	} {
		s := plain()
		spoil(&s)
		_, err := template.New(template.Options{Driver: world(t).Open(), Kernel: "toy", List: []template.Spec{s}, Logger: slog.New(slog.DiscardHandler),
			Images: func(string) (template.Image, error) { return template.Image{}, nil }})
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
