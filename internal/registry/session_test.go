package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/session"
	"cellhold/internal/store"
)

// images has one image.
type images struct{}

func (images) Resolve(name string) (session.Image, error) {
	if name != "toy" {
		return session.Image{}, cellhold.Errorf(cellhold.NotFound, "Image %q not found.", name)
	}
	return session.Image{Name: name, Digest: "d", Rootfs: "/"}, nil
}

// host is a machine: the data that survives the end of a server.
type host struct {
	home  string
	world *fake.World
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{home: t.TempDir()}
	var err error
	if h.world, err = fake.NewWorld(context.Background(), fake.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.world.Close() })
	return h
}

// server is one run of a server on a host.
type server struct {
	*registry.Registry
	stop func()
}

func (h *host) serve(t *testing.T, change ...func(*registry.Options)) *server {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Dir: h.home})
	if err != nil {
		t.Fatal(err)
	}
	o := registry.Options{Driver: h.world.Open(), Store: db, Images: images{}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Settings: session.Settings{Home: h.home}, Image: "toy",
		Limits: cellhold.Limits{Memory: 1 << 30, CPU: 1, Processes: 64, Disk: 1 << 20, Tmp: 1 << 20, Output: 1 << 20}}
	for _, f := range change {
		f(&o)
	}
	m, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
			cancel()
		}
	})
	if err := m.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	s := &server{Registry: m, stop: func() {
		once.Do(func() {
			cancel()
			run.Wait()
			if err := db.Close(); err != nil {
				t.Errorf("closing the store: %v", err)
			}
		})
	}}
	t.Cleanup(s.stop)
	return s
}

func (s *server) create(t *testing.T, r registry.CreateRequest) *session.Session {
	t.Helper()
	if r.Owner == "" {
		r.Owner = "me"
	}
	ses, err := s.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return ses
}

// run runs a cell until it is done.
func run(t *testing.T, s *session.Session, code string) cellhold.Cell {
	t.Helper()
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: code})
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	if c, err = s.History().WaitCell(t.Context(), c.ID); err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	return c
}

// text returns all output of a cell.
func text(c cellhold.Cell) string {
	var b strings.Builder
	for _, o := range c.Outputs {
		b.WriteString(o.Text)
		b.Write(o.Data["text/plain"])
	}
	return b.String()
}

// ended waits for the end of a session and returns its reason.
func ended(t *testing.T, s *session.Session) cellhold.EndReason {
	t.Helper()
	var end cellhold.SessionEndedContent
	for ev, err := range s.History().Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventSessionEnded {
			if err := ev.Decode(&end); err != nil {
				t.Fatal(err)
			}
		}
	}
	return end.Reason
}

func TestCellsOfASessionShareState(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	if c := run(t, s, "set x 42"); c.Status != cellhold.StatusOK {
		t.Fatalf("the first cell: %+v", c)
	}
	if c := run(t, s, "get x"); !strings.Contains(text(c), "42") {
		t.Errorf("got %q, want 42", text(c))
	}
}

func TestVariablesAndOutputSurviveARestartDuringACell(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{User: "ann", Meta: map[string]string{"k": "v"}})
	run(t, s, "set x 42")
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "print before\nsleep 300ms\nprint after"})
	if err != nil {
		t.Fatal(err)
	}
	queued, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "get x"})
	if err != nil {
		t.Fatal(err)
	}
	for ev, err := range s.History().Watch(t.Context(), c.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventStream {
			break
		}
	}
	first.stop()

	second := h.serve(t)
	again, err := second.Session(t.Context(), "me", s.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Info(); got.User != "ann" || got.Meta["k"] != "v" || got.State != cellhold.SessionReady {
		t.Errorf("the session after a restart of the server: %+v", got)
	}
	if c, err = again.History().WaitCell(t.Context(), c.ID); err != nil || c.Status != cellhold.StatusOK || text(c) != "before\nafter\n" {
		t.Errorf("the cell that ran: %s %q, %v", c.Status, text(c), err)
	}
	if queued, err = again.History().WaitCell(t.Context(), queued.ID); err != nil || !strings.Contains(text(queued), "42") {
		t.Errorf("the queued cell: %s %q, %v", queued.Status, text(queued), err)
	}
	seen := map[cellhold.CellID]int{}
	next := int64(1)
	for ev, err := range again.History().Events(t.Context(), 0, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Seq != next {
			t.Errorf("event %d, want %d", ev.Seq, next)
		}
		next++
		if ev.Type == cellhold.EventCellDone {
			seen[ev.Cell]++
		}
	}
	if seen[c.ID] != 1 || seen[queued.ID] != 1 {
		t.Errorf("ends of cells: %v", seen)
	}
}

func TestASessionWithoutItsSandboxIsLostAndCanBeRead(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "loop"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStart(t, s, c)
	first.stop()
	box := sandbox.ID(s.Record().Sandbox)
	if err := h.world.Kill(box, sandbox.Exit{Code: -1, Signal: 9}); err != nil {
		t.Fatal(err)
	}

	again, err := h.serve(t).Session(t.Context(), "me", s.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Info(); got.State != cellhold.SessionEnded || got.Reason != cellhold.EndLost {
		t.Errorf("state %s (%s), want ended (lost)", got.State, got.Reason)
	}
	if c, err = again.History().WaitCell(t.Context(), c.ID); err != nil || c.Status != cellhold.StatusLost {
		t.Errorf("cell %s, %v, want lost", c.Status, err)
	}
	if got := ended(t, again); got != cellhold.EndLost {
		t.Errorf("last event says %s", got)
	}
	if _, err := again.Execute(t.Context(), session.ExecuteRequest{Code: "print x"}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a lost session answered %v", err)
	}
}

func TestAStraySandboxIsDestroyedAtTheStart(t *testing.T) {
	h := newHost(t)
	stray, err := h.world.Open().Create(t.Context(), sandbox.Spec{ID: "stray", Rootfs: "/",
		Limits: sandbox.Limits{Memory: 1, CPU: 1, Processes: 1, Disk: 1, Tmp: 1, Output: 1}})
	if err != nil {
		t.Fatal(err)
	}
	h.serve(t)
	infos, err := h.world.Open().List(t.Context())
	if err != nil || len(infos) != 0 {
		t.Errorf("left behind: %v, %v; want nothing of %s", infos, err, stray.ID())
	}
}

// unlisted is a driver that lists no sandbox: those of an earlier server have lost their folders and processes.
type unlisted struct {
	*fake.Driver
	removed chan sandbox.ID
}

func (d unlisted) List(context.Context) ([]sandbox.Info, error) { return nil, nil }

func (d unlisted) Remove(ctx context.Context, id sandbox.ID) error {
	d.removed <- id
	return d.Driver.Remove(ctx, id)
}

func TestTheSandboxOfALostSessionIsRemovedEvenIfTheDriverDoesNotListIt(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	lost, kept := first.create(t, registry.CreateRequest{}), first.create(t, registry.CreateRequest{})
	first.stop()
	box := sandbox.ID(lost.Record().Sandbox)
	if err := h.world.Kill(box, sandbox.Exit{Code: -1, Signal: 9}); err != nil {
		t.Fatal(err)
	}
	d := unlisted{removed: make(chan sandbox.ID, 10)}
	again := h.serve(t, func(o *registry.Options) {
		d.Driver = o.Driver.(*fake.Driver)
		o.Driver = d
	})
	if got := <-d.removed; got != box || len(d.removed) > 0 {
		t.Errorf("removed %s and %d more, want only %s", got, len(d.removed), box)
	}
	if s, err := again.Session(t.Context(), "me", kept.Info().ID); err != nil || s.Info().State != cellhold.SessionReady {
		t.Errorf("the other session: got %v, want ready", err)
	}
}

func TestTheEndOfASandboxEndsItsCellAndARestartMakesANewOne(t *testing.T) {
	h := newHost(t)
	s := h.serve(t).create(t, registry.CreateRequest{Startup: "set greeting hello"})
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "loop"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStart(t, s, c)
	old := s.Record().Sandbox
	if err := h.world.Kill(sandbox.ID(old), sandbox.Exit{Code: -1, Signal: 9, OOM: true}); err != nil {
		t.Fatal(err)
	}
	if c, err = s.History().WaitCell(t.Context(), c.ID); err != nil || c.Status != cellhold.StatusOOM {
		t.Fatalf("cell %s, %v, want oom", c.Status, err)
	}
	if k := s.Info().Kernels[0]; k.State != cellhold.KernelDead || k.Cause != cellhold.StatusOOM {
		t.Errorf("kernel %+v, want dead of oom", k)
	}
	if err := s.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if s.Record().Sandbox == old {
		t.Error("the session still has the ended sandbox")
	}
	if c := run(t, s, "get greeting"); !strings.Contains(text(c), "hello") {
		t.Errorf("after the restart: %s %q", c.Status, text(c))
	}
}

func TestTheEndOfTheFileAccessOfASandboxEndsItsCellWithTheReason(t *testing.T) {
	h := newHost(t)
	s := h.serve(t).create(t, registry.CreateRequest{})
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "loop"})
	if err != nil {
		t.Fatal(err)
	}
	awaitStart(t, s, c)
	if err := h.world.Kill(sandbox.ID(s.Record().Sandbox), sandbox.Exit{Code: -1, Signal: 9, FilesLost: true}); err != nil {
		t.Fatal(err)
	}
	c, err = s.History().WaitCell(t.Context(), c.ID)
	if err != nil || c.Status != cellhold.StatusLost || !strings.Contains(c.Cause, "file proxy") {
		t.Errorf("the cell ended with %s (%s), %v; want lost, because of the files", c.Status, c.Cause, err)
	}
}

func TestARestartOfTheKernelLosesVariablesAndRunsTheStartupCodeAgain(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{Startup: "set greeting hello"})
	run(t, s, "set x 1")
	if err := s.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if c := run(t, s, "get x"); c.Status != cellhold.StatusError {
		t.Errorf("x is still set: %q", text(c))
	}
	if c := run(t, s, "get greeting"); !strings.Contains(text(c), "hello") {
		t.Errorf("startup code did not run: %s", c.Status)
	}
}

func TestAnIdleSessionEndsAndABusyOneDoesNot(t *testing.T) {
	t.Parallel()                 // the test mostly waits
	const idle = 2 * time.Second // longer than a busy machine needs between two calls
	h := newHost(t)
	m := h.serve(t, func(o *registry.Options) { o.IdleTimeout = idle })
	s := m.create(t, registry.CreateRequest{})
	if c := run(t, s, "sleep 3s\nprint done"); c.Status != cellhold.StatusOK {
		t.Errorf("the cell that took longer than the idle time: %s", c.Status)
	}
	if got := ended(t, s); got != cellhold.EndExpired {
		t.Errorf("ended because %s, want expired", got)
	}
	if infos, err := h.world.Open().List(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("left behind: %v, %v", infos, err)
	}
}

func TestOutputFilesAreCopiedToTheHostAndToTheUsersNextSession(t *testing.T) {
	h := newHost(t)
	m := h.serve(t)
	s := m.create(t, registry.CreateRequest{User: "../../ann"})
	guest := h.world.OutputDir(sandbox.ID(s.Record().Sandbox))
	write := func(name, content string) {
		t.Helper()
		p := filepath.Join(guest, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "sleep 2s"})
	if err != nil {
		t.Fatal(err)
	}
	for ev, err := range s.History().Watch(t.Context(), c.First) { // the cell is running
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventCellStarted {
			break
		}
	}
	write("a/report.csv", "1,2,3\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(guest, "passwd")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.History().WaitCell(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	files, err := s.HostFiles().Outputs()
	if err != nil || len(files) != 1 || files[0].Path != "a/report.csv" {
		t.Fatalf("files %v, %v", files, err)
	}
	if got := read(t, s, "a/report.csv"); got != "1,2,3\n" {
		t.Errorf("content %q", got)
	}
	for _, name := range []string{"passwd", "../cellhold.db", "/etc/passwd", "a", ""} {
		if f, err := s.HostFiles().OpenOutput(name); cellhold.KindOf(err) != cellhold.NotFound {
			t.Errorf("OpenOutput(%q) gave %v, %v", name, f, err)
		}
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}

	next := m.create(t, registry.CreateRequest{User: "../../ann"})
	raw, err := os.ReadFile(filepath.Join(h.world.OutputDir(sandbox.ID(next.Record().Sandbox)), "a/report.csv"))
	if err != nil || string(raw) != "1,2,3\n" {
		t.Errorf("the user's next session has %q, %v", raw, err)
	}
	other := m.create(t, registry.CreateRequest{User: "bob"})
	if files, err := other.HostFiles().Outputs(); err != nil || len(files) != 0 {
		t.Errorf("another user sees %v, %v", files, err)
	}
	above, err := filepath.Glob(filepath.Join(filepath.Dir(h.home), "ann*"))
	if err != nil || len(above) != 0 {
		t.Errorf("the user label made files outside the state directory: %v, %v", above, err)
	}
}

func read(t *testing.T, s *session.Session, name string) string {
	t.Helper()
	f, err := s.HostFiles().OpenOutput(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTheNotebookOnDiskHasEveryCellThatIsDone(t *testing.T) {
	m := newHost(t).serve(t)
	s := m.create(t, registry.CreateRequest{User: "ann"})
	for i, code := range []string{"print one", "error ValueError no", "display text/plain hi"} {
		run(t, s, code)
		if err := s.HostFiles().FlushNotebook(t.Context()); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(s.HostFiles().NotebookPath())
		if err != nil {
			t.Fatal(err)
		}
		var nb struct {
			Cells []struct {
				Outputs []json.RawMessage `json:"outputs"`
			} `json:"cells"`
		}
		if err := json.Unmarshal(raw, &nb); err != nil {
			t.Fatal(err)
		}
		if len(nb.Cells) != i+1 || len(nb.Cells[i].Outputs) != 1 {
			t.Errorf("after %q: %d cells: %s", code, len(nb.Cells), raw)
		}
	}
	path := s.HostFiles().NotebookPath()
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the notebook still exists: %v", err)
	}
}

func TestUnknownSessionsAndThoseOfOthersGiveTheSameError(t *testing.T) {
	m := newHost(t).serve(t)
	s := m.create(t, registry.CreateRequest{Owner: "ann", User: "u", Article: true})
	_, unknown := m.Session(t.Context(), "bob", "sxxxxxxxxxxxxxxxx")
	_, foreign := m.Session(t.Context(), "bob", s.Info().ID)
	_, unknownUser := m.Article(t.Context(), "bob", "x")
	_, foreignUser := m.Article(t.Context(), "bob", "u")
	for _, x := range []struct {
		got, want error
		id        string // the id in the error
	}{{foreign, unknown, string(s.Info().ID)}, {foreignUser, unknownUser, "u"}} {
		got, want := strings.ReplaceAll(x.got.Error(), strconv.Quote(x.id), ""), x.want.Error()
		want = strings.NewReplacer(`"sxxxxxxxxxxxxxxxx"`, "", `"x"`, "").Replace(want)
		if cellhold.KindOf(x.got) != cellhold.NotFound || got != want {
			t.Errorf("got %v, want %v", x.got, x.want)
		}
	}
	if l := m.List("bob"); len(l) != 0 {
		t.Errorf("bob sees %v", l)
	}
}

func TestAUsersNewArticleSessionReplacesTheOldOne(t *testing.T) {
	h := newHost(t)
	m := h.serve(t)
	for range 3 {
		if _, err := m.Replace(t.Context(), registry.CreateRequest{Owner: "me", User: "u"}); err != nil {
			t.Fatal(err)
		}
	}
	if l := m.List("me"); len(l) != 1 {
		t.Errorf("%d sessions, want 1", len(l))
	}
	if infos, err := h.world.Open().List(t.Context()); err != nil || len(infos) != 1 {
		t.Errorf("sandboxes %v, %v; want 1", infos, err)
	}
}

func TestTheLimitOfSessionsHolds(t *testing.T) {
	m := newHost(t).serve(t, func(o *registry.Options) { o.MaxSessions = 2 })
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		wg.Go(func() {
			_, err := m.Create(t.Context(), registry.CreateRequest{Owner: "me"})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	created := 0
	for err := range errs {
		switch {
		case err == nil:
			created++
		case cellhold.KindOf(err) != cellhold.Exhausted:
			t.Errorf("got %v, want exhausted", err)
		}
	}
	if created != 2 {
		t.Errorf("%d sessions were created, want 2", created)
	}
}

func TestTheLimitsOfATokenHoldForConcurrentRequests(t *testing.T) {
	m := newHost(t).serve(t, func(o *registry.Options) { o.MaxSessions, o.MaxSessionsPerOwner, o.CreatesPerMinute = 8, 2, 5 })
	many := func(owner string) (created []*session.Session) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 12 {
			wg.Go(func() {
				s, err := m.Create(t.Context(), registry.CreateRequest{Owner: owner})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					created = append(created, s)
				} else if cellhold.KindOf(err) != cellhold.Exhausted {
					t.Errorf("got %v, want exhausted", err)
				}
			})
		}
		wg.Wait()
		return created
	}
	mine := many("me")
	if len(mine) != 2 {
		t.Errorf("%d sessions were created, want 2", len(mine))
	}
	if yours := many("you"); len(yours) != 2 {
		t.Errorf("another token got %d, want 2", len(yours))
	}
	for made := 2; ; made++ { // now the limit per minute
		for _, s := range mine {
			if err := s.End(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		s, err := m.Create(t.Context(), registry.CreateRequest{Owner: "me"})
		if err != nil {
			if cellhold.KindOf(err) != cellhold.Exhausted || made != 5 {
				t.Errorf("after %d creations: %v", made, err)
			}
			return
		}
		mine = []*session.Session{s}
	}
}

func TestAnInvalidRequestIsRefusedAndLeavesNothingBehind(t *testing.T) {
	h := newHost(t)
	m := h.serve(t)
	for name, r := range map[string]registry.CreateRequest{
		"unknown image":      {Image: "nope"},
		"too much memory":    {Limits: cellhold.Limits{Memory: 1 << 50}},
		"negative limit":     {Limits: cellhold.Limits{CPU: -1}},
		"control characters": {User: "a\nb"},
		"label too long":     {User: strings.Repeat("a", 300)},
	} {
		if _, err := m.Create(t.Context(), r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if infos, err := h.world.Open().List(t.Context()); err != nil || len(infos) != 0 || len(m.List("")) != 0 {
		t.Errorf("left behind: %v, %v, %v", infos, err, m.List(""))
	}
}

func TestAnEphemeralServerLeavesNoSandboxBehind(t *testing.T) {
	h := newHost(t)
	m := h.serve(t, func(o *registry.Options) { o.Ephemeral = true })
	m.create(t, registry.CreateRequest{})
	m.stop()
	if infos, err := h.world.Open().List(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("left behind: %v, %v", infos, err)
	}
}
