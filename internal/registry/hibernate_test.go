package registry_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
	"cellhold/internal/store"
)

// saved returns the names of the snapshots of a host.
func (h *host) saved() []string { return h.world.SnapshotNames() }

// failingDriver is a driver that can fail on request.
type failingDriver struct {
	*fake.Driver
	snapshot, create atomic.Pointer[error]
}

func (d *failingDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	if err := d.create.Load(); err != nil {
		return nil, *err
	}
	sb, err := d.Driver.Create(ctx, s)
	if err != nil {
		return nil, err
	}
	return &failingSandbox{sb, d}, nil
}

type failingSandbox struct {
	sandbox.Sandbox
	driver *failingDriver
}

func (b *failingSandbox) Snapshot(ctx context.Context, name string) error {
	if err := b.driver.snapshot.Load(); err != nil {
		return *err
	}
	return b.Sandbox.Snapshot(ctx, name)
}

// withFailures gives a server a failingDriver.
func withFailures(h *host) (*failingDriver, func(*registry.Options)) {
	d := &failingDriver{}
	return d, func(o *registry.Options) {
		d.Driver = h.world.Open()
		o.Driver = d
	}
}

func hibernate(t *testing.T, s *session.Session) {
	t.Helper()
	if err := s.Hibernate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := s.Info().State; state != cellhold.SessionHibernated {
		t.Fatalf("the session is %s", state)
	}
}

// types returns the types of a session's own events, in order, and checks that no number is missing.
func types(t *testing.T, s *session.Session) []cellhold.EventType {
	t.Helper()
	var list []cellhold.EventType
	next := int64(1)
	for ev, err := range s.History().Events(t.Context(), 0, 10_000) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Seq != next {
			t.Fatalf("event %d, want %d", ev.Seq, next)
		}
		next++
		if strings.HasPrefix(string(ev.Type), "session_") {
			list = append(list, ev.Type)
		}
	}
	return list
}

func TestReadsDoNotResumeASessionAndCallsDo(t *testing.T) {
	m := newHost(t).serve(t)
	s := m.create(t, registry.CreateRequest{})
	c := run(t, s, "set x 42")
	hibernate(t, s)
	hibernate(t, s) // a second call is not an error
	if _, err := s.History().Cell(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if err := s.Interrupt(t.Context(), "", ""); err != nil {
		t.Error(err)
	}
	if got := s.Info().Kernels[0].State; got != cellhold.KernelIdle {
		t.Errorf("the kernel is %s", got)
	}
	types(t, s)
	if state := s.Info().State; state != cellhold.SessionHibernated {
		t.Errorf("after reads the session is %s", state)
	}
	if got := text(run(t, s, "get x")); !strings.Contains(got, "42") {
		t.Errorf("x is %q", got)
	}
	got := types(t, s)
	if len(got) != 2 || got[0] != cellhold.EventSessionHibernated || got[1] != cellhold.EventSessionResumed {
		t.Errorf("events %v, want session_hibernated and session_resumed", got)
	}
}

func TestAHibernatedSessionSurvivesARestart(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	run(t, s, "set x 42")
	hibernate(t, s)
	first.stop()
	second := h.serve(t)
	again, err := second.Session(t.Context(), "me", s.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if info := again.Info(); info.State != cellhold.SessionHibernated || info.Kernels[0].State != cellhold.KernelIdle {
		t.Errorf("after a restart of the server: %+v", info)
	}
	if got := text(run(t, again, "get x")); !strings.Contains(got, "42") {
		t.Errorf("x is %q", got)
	}
	if err := again.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.stop()
	if left := h.saved(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestASessionThatCannotBeSavedContinues(t *testing.T) {
	h := newHost(t)
	d, withDriver := withFailures(h)
	s := h.serve(t, withDriver).create(t, registry.CreateRequest{})
	run(t, s, "set x 42")
	full := error(sandbox.ErrSpace)
	d.snapshot.Store(&full)
	if err := s.Hibernate(t.Context()); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("hibernating with a full disk: %v", err)
	}
	if got := text(run(t, s, "get x")); !strings.Contains(got, "42") {
		t.Errorf("x is %q", got)
	}
	if _, err := s.Checkpoint(t.Context(), "a"); cellhold.KindOf(err) != cellhold.Exhausted || len(s.Checkpoints()) != 0 {
		t.Errorf("a checkpoint with a full disk: %v", err)
	}
	// The driver refuses a snapshot that it could not restore, as of a session from an earlier version.
	unrestorable := error(&sandbox.SnapshotError{Reason: "it was made with another agent"})
	d.snapshot.Store(&unrestorable)
	if err := s.Hibernate(t.Context()); cellhold.KindOf(err) != cellhold.Unsupported || !strings.Contains(err.Error(), "made with another agent") {
		t.Errorf("hibernating with a snapshot that cannot be restored: %v", err)
	}
	if got := text(run(t, s, "get x")); !strings.Contains(got, "42") {
		t.Errorf("x is %q", got)
	}
	// The memory limit leaves too little free for a save.
	needs := error(&sandbox.MemoryError{Need: 900 << 20, Free: 300 << 20})
	d.snapshot.Store(&needs)
	if err := s.Hibernate(t.Context()); cellhold.KindOf(err) != cellhold.Exhausted || !strings.Contains(err.Error(), "could need 900 MiB of memory") || !strings.Contains(err.Error(), "300 MiB free") {
		t.Errorf("hibernating with too little memory: %v", err)
	}
	if got := text(run(t, s, "get x")); !strings.Contains(got, "42") {
		t.Errorf("x is %q", got)
	}
	d.snapshot.Store(nil)
	hibernate(t, s)
}

func TestASessionWhoseSnapshotCannotBeRestoredCanBeRestarted(t *testing.T) {
	h := newHost(t)
	s := h.serve(t).create(t, registry.CreateRequest{})
	run(t, s, "set x 42")
	hibernate(t, s)
	list := h.saved()
	if len(list) != 1 {
		t.Fatalf("snapshots %v, want one", list)
	}
	if err := h.world.Spoil(list[0]); err != nil {
		t.Fatal(err)
	}
	_, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "get x"})
	if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "Restart a kernel") {
		t.Errorf("a cell in a session with a damaged snapshot: %v", err)
	}
	if state := s.Info().State; state != cellhold.SessionHibernated {
		t.Errorf("the session is %s", state)
	}
	if err := s.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if c := run(t, s, "set x 1"); c.Status != cellhold.StatusOK || s.Info().State != cellhold.SessionReady {
		t.Errorf("after the restart, the cell is %+v and the session %s", c, s.Info().State)
	}
}

func TestAnIdleSessionHibernatesAndLaterExpires(t *testing.T) {
	m := newHost(t).serve(t, func(o *registry.Options) {
		o.HibernateAfter, o.IdleTimeout = 100*time.Millisecond, 1500*time.Millisecond
	})
	s := m.create(t, registry.CreateRequest{})
	if reason := ended(t, s); reason != cellhold.EndExpired {
		t.Errorf("the session ended: %s", reason)
	}
	if got := types(t, s); len(got) != 2 || got[0] != cellhold.EventSessionHibernated {
		t.Errorf("events %v, want session_hibernated and one more", got)
	}
}

func TestConcurrentCallsResumeASessionOnce(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	hibernate(t, s)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "set x 1"})
			if err == nil {
				c, err = s.History().WaitCell(t.Context(), c.ID)
			}
			if err != nil || c.Status != cellhold.StatusOK {
				t.Errorf("a cell of a concurrent call: %s, %v", c.Status, err)
			}
		})
	}
	wg.Wait()
	if got := types(t, s); len(got) != 2 {
		t.Errorf("events %v, want one hibernation and one resumption", got)
	}
}

func TestHibernatedSessionsHaveTheirOwnLimit(t *testing.T) {
	m := newHost(t).serve(t, func(o *registry.Options) { o.MaxSessions, o.MaxHibernated = 1, 1 })
	a := m.create(t, registry.CreateRequest{})
	hibernate(t, a)
	b := m.create(t, registry.CreateRequest{}) // the slot of the first session is free
	if err := b.Hibernate(t.Context()); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("a second session hibernated: %v", err)
	}
	if err := a.Resume(t.Context()); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("two sessions are running: %v", err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Resume(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestARollbackUndoesCellsAndAFailedOneChangesNothing(t *testing.T) {
	h := newHost(t)
	d, withDriver := withFailures(h)
	s := h.serve(t, withDriver).create(t, registry.CreateRequest{})
	run(t, s, "set x 1")
	if _, err := s.Checkpoint(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	gone := run(t, s, "set x 2")
	broken := errors.New("broken")
	d.create.Store(&broken)
	if err := s.Rollback(t.Context(), "one"); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("a rollback without a new sandbox: %v", err)
	}
	if got := text(run(t, s, "get x")); !strings.Contains(got, "2") {
		t.Errorf("after a failed rollback, x is %q", got)
	}
	d.create.Store(nil)
	if err := s.Rollback(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := text(run(t, s, "get x")); !strings.Contains(got, "1") {
		t.Errorf("x is %q", got)
	}
	c, err := s.History().Cell(t.Context(), gone.ID)
	if err != nil || !c.Undone {
		t.Errorf("the undone cell: %+v, %v", c, err)
	}
	book, err := s.History().Notebook("")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := book.Write(t.Context(), &b); err != nil || strings.Contains(b.String(), "set x 2") || !strings.Contains(b.String(), "set x 1") {
		t.Errorf("the notebook, %v: %s", err, &b)
	}
}

func TestForksHaveTheirParentsHistoryAndDiverge(t *testing.T) {
	h := newHost(t)
	m := h.serve(t)
	s := m.create(t, registry.CreateRequest{User: "ann"})
	c := run(t, s, "set x 1")
	forks, err := m.Fork(t.Context(), s, terms.Fork{Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, "set x 2")
	for _, f := range forks {
		if got := text(run(t, f, "get x")); !strings.Contains(got, "1") {
			t.Errorf("x of a fork is %q", got)
		}
		if got, err := f.History().Cell(t.Context(), c.ID); err != nil || got.Session != f.Info().ID || got.First != c.First {
			t.Errorf("the parent's cell in a fork: %+v, %v", got, err)
		}
		if got := types(t, f); len(got) != 1 || got[0] != cellhold.EventSessionForked {
			t.Errorf("events %v of a fork, want session_forked", got)
		}
		if info := f.Info(); info.Parent != s.Info().ID || info.User != "ann" {
			t.Errorf("the fork: %+v", info)
		}
	}
	hibernate(t, s)
	late, err := m.Fork(t.Context(), s, terms.Fork{Count: 1}) // from a hibernated session, which stays hibernated
	if err != nil {
		t.Fatal(err)
	}
	if got := text(run(t, late[0], "get x")); !strings.Contains(got, "2") || s.Info().State != cellhold.SessionHibernated {
		t.Errorf("x is %q, the parent %s", got, s.Info().State)
	}
	if got := h.saved(); len(got) != 1 {
		t.Errorf("snapshots %v, want only the parent's", got)
	}
	id := forks[0].Info().ID
	m.stop()
	again, err := h.serve(t).Session(t.Context(), "me", id)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(run(t, again, "get x")); !strings.Contains(got, "1") {
		t.Errorf("x of a fork after a restart of the server is %q", got)
	}
}

func TestFailedForksLeaveNothingBehind(t *testing.T) {
	h := newHost(t)
	d, withDriver := withFailures(h)
	m := h.serve(t, withDriver)
	s := m.create(t, registry.CreateRequest{})
	broken := errors.New("broken")
	d.create.Store(&broken)
	if _, err := m.Fork(t.Context(), s, terms.Fork{Count: 4}); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("forks without new sandboxes: %v", err)
	}
	if list := m.List("me"); len(list) != 1 {
		t.Errorf("%d sessions, want only the parent", len(list))
	}
	if got := h.saved(); len(got) != 0 {
		t.Errorf("snapshots %v, want none", got)
	}
	if _, err := m.Fork(t.Context(), s, terms.Fork{Count: 17}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("17 forks in one call: %v", err)
	}
}

func TestAnIncompleteForkIsDeletedAtTheNextStart(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	run(t, s, "set x 1")
	first.stop()
	half := s.Record()
	half.ID, half.Parent, half.State = cellhold.NewSessionID(), half.ID, cellhold.SessionStarting
	db, err := store.Open(t.Context(), store.Options{Dir: h.home})
	if err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(h.home, "output", string(half.ID))
	if err := errors.Join(db.PutSession(t.Context(), half), db.Copy(t.Context(), half.Parent, half.ID, 1, time.Now()), db.Close(), os.Mkdir(files, 0o700)); err != nil {
		t.Fatal(err)
	}
	m := h.serve(t)
	if list := m.List("me"); len(list) != 1 || list[0].ID != half.Parent || list[0].State != cellhold.SessionReady {
		t.Errorf("the sessions: %+v", list)
	}
	if _, err := os.Stat(files); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the fork's output files: %v", err)
	}
}

func TestOutputFilesAreCopiedAfterAKillDuringARollback(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	own, shared := first.create(t, registry.CreateRequest{}), first.create(t, registry.CreateRequest{User: "ann"})
	for _, s := range []*session.Session{own, shared} {
		writeInside(t, h, s, "o.txt", "after")
		run(t, s, "print copied")
	}
	first.stop()
	for _, s := range []*session.Session{own, shared} { // as if the sandbox was rolled back, but not the host's folder
		if err := os.Remove(filepath.Join(h.world.OutputDir(sandbox.ID(s.Record().Sandbox)), "o.txt")); err != nil {
			t.Fatal(err)
		}
		writeInside(t, h, s, "b.txt", "before")
	}
	m := h.serve(t)
	for id, want := range map[cellhold.SessionID]string{own.Info().ID: "b.txt", shared.Info().ID: "o.txt"} {
		s, err := m.Session(t.Context(), "me", id)
		if err != nil {
			t.Fatal(err)
		}
		// The user's other sessions can have written the files in the folder.
		if files, err := s.HostFiles().Outputs(); err != nil || len(files) != 1 || files[0].Path != want {
			t.Errorf("the host has %v, %v; want %s", files, err, want)
		}
	}
}

// writeInside writes an output file in the session's sandbox.
func writeInside(t *testing.T, h *host, s *session.Session, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.world.OutputDir(sandbox.ID(s.Record().Sandbox)), name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
