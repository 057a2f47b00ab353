package registry_test

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/registry"
	"cellhold/internal/session"
)

// runOn runs a cell on a kernel until it is done.
func runOn(t *testing.T, s *session.Session, k cellhold.KernelID, code string) cellhold.Cell {
	t.Helper()
	c, err := s.Execute(t.Context(), session.ExecuteRequest{Kernel: k, Code: code})
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	if c, err = s.History().WaitCell(t.Context(), c.ID); err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	return c
}

// awaitStart returns when a cell runs.
func awaitStart(t *testing.T, s *session.Session, c cellhold.Cell) {
	t.Helper()
	for ev, err := range s.History().Watch(t.Context(), c.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Cell == c.ID && ev.Type == cellhold.EventCellStarted {
			return
		}
	}
}

func addKernel(t *testing.T, s *session.Session, spec string, id cellhold.KernelID) cellhold.Kernel {
	t.Helper()
	k, err := s.AddKernel(t.Context(), attachment.KernelRequest{Spec: spec, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKernelsHaveTheirOwnVariablesAndQueues(t *testing.T) {
	s := newHost(t).serve(t)
	ses := s.create(t, registry.CreateRequest{})
	second := addKernel(t, ses, "toy", "")
	if second.ID != "toy" || second.Spec != "toy" || second.State != cellhold.KernelIdle {
		t.Fatalf("the new kernel is %+v", second)
	}
	runOn(t, ses, "", "set x 1")
	if c := runOn(t, ses, "toy", "get x"); c.Status != cellhold.StatusError {
		t.Errorf("the second kernel sees the first one's variable: %s", text(c))
	}
	busy, err := ses.Execute(t.Context(), session.ExecuteRequest{Code: "loop"})
	if err != nil {
		t.Fatal(err)
	}
	if c := runOn(t, ses, "toy", "print free"); text(c) != "free\n" || c.Kernel != "toy" {
		t.Errorf("next to a busy kernel, the cell printed %q on %s", text(c), c.Kernel)
	}
	if err := ses.Interrupt(t.Context(), "toy", ""); err != nil {
		t.Fatal(err)
	}
	if c, _ := ses.History().Cell(t.Context(), busy.ID); c.State == cellhold.CellDone {
		t.Error("the interrupt of one kernel ended the cell of another")
	}
	if err := ses.Interrupt(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	if c, _ := ses.History().WaitCell(t.Context(), busy.ID); c.Status != cellhold.StatusInterrupted {
		t.Errorf("the interrupted cell ended with %s", c.Status)
	}
}

func TestAllKernelsSurviveARestartOfTheServer(t *testing.T) {
	h := newHost(t)
	s := h.serve(t)
	ses := s.create(t, registry.CreateRequest{})
	addKernel(t, ses, "toy", "b")
	addKernel(t, ses, "toy", "c")
	runOn(t, ses, "", "set x first")
	runOn(t, ses, "b", "set x second")
	pending, err := ses.Execute(t.Context(), session.ExecuteRequest{Kernel: "c", Code: "sleep 50ms\nprint late"})
	if err != nil {
		t.Fatal(err)
	}
	s.stop()

	s = h.serve(t)
	again, err := s.Session(t.Context(), "me", ses.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(again.Info().Kernels); n != 3 {
		t.Fatalf("%d kernels after the restart, want 3", n)
	}
	if c, _ := again.History().WaitCell(t.Context(), pending.ID); text(c) != "late\n" {
		t.Errorf("the third kernel's cell printed %q", text(c))
	}
	for k, want := range map[cellhold.KernelID]string{"": "first", "b": "second"} {
		if c := runOn(t, again, k, "get x"); !strings.Contains(text(c), want) {
			t.Errorf("kernel %q has x = %q, want %s", k, text(c), want)
		}
	}
}

func TestADeletedKernelFreesItsId(t *testing.T) {
	h := newHost(t)
	s := h.serve(t)
	ses := s.create(t, registry.CreateRequest{})
	addKernel(t, ses, "toy", "b")
	runOn(t, ses, "b", "set x 1")
	running, _ := ses.Execute(t.Context(), session.ExecuteRequest{Kernel: "b", Code: "loop"})
	awaitStart(t, ses, running)
	waiting, _ := ses.Execute(t.Context(), session.ExecuteRequest{Kernel: "b", Code: "print never"})
	if err := ses.RemoveKernel(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[cellhold.CellID]cellhold.CellStatus{running.ID: cellhold.StatusInterrupted, waiting.ID: cellhold.StatusCancelled} {
		if c, err := ses.History().Cell(t.Context(), id); err != nil || c.Status != want {
			t.Errorf("a cell of the deleted kernel ended with %s (%v), want %s", c.Status, err, want)
		}
	}
	if _, err := ses.Execute(t.Context(), session.ExecuteRequest{Kernel: "b", Code: "print x"}); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a cell for a deleted kernel: %v", err)
	}
	addKernel(t, ses, "toy", "b")
	if c := runOn(t, ses, "b", "get x"); c.Status != cellhold.StatusError {
		t.Errorf("the new kernel has the old one's variables: %s", text(c))
	}
	s.stop()
	s = h.serve(t)
	ses, err := s.Session(t.Context(), "me", ses.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if c := runOn(t, ses, "b", "print alive"); text(c) != "alive\n" {
		t.Errorf("after a restart the new kernel printed %q", text(c))
	}
}

func TestInvalidKernelsAreRefused(t *testing.T) {
	ses := newHost(t).serve(t).create(t, registry.CreateRequest{})
	for _, x := range []struct {
		name string
		r    attachment.KernelRequest
		want cellhold.Kind
	}{
		{"unknown kernelspec", attachment.KernelRequest{Spec: "cobol"}, cellhold.Invalid},
		{"a path", attachment.KernelRequest{Spec: "../toy"}, cellhold.Invalid},
		{"a strange id", attachment.KernelRequest{Spec: "toy", ID: "a/b"}, cellhold.Invalid},
		{"a taken id", attachment.KernelRequest{Spec: "toy", ID: "python3"}, cellhold.Conflict},
	} {
		if _, err := ses.AddKernel(t.Context(), x.r); cellhold.KindOf(err) != x.want {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if err := ses.RemoveKernel(t.Context(), "python3"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("removing the first kernel: %v", err)
	}
	for range 7 {
		addKernel(t, ses, "toy", "")
	}
	if _, err := ses.AddKernel(t.Context(), attachment.KernelRequest{Spec: "toy"}); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("the ninth kernel: %v", err)
	}
}

// The kernel can get the interrupt before the cell, and ignore it. Then the signal stops the cell 2 s later.
func TestAnInterruptRightAfterASubmissionStopsTheCell(t *testing.T) {
	s := newHost(t).serve(t)
	ses := s.create(t, registry.CreateRequest{})
	for range 3 {
		c, err := ses.Execute(t.Context(), session.ExecuteRequest{Code: "loop"})
		if err != nil {
			t.Fatal(err)
		}
		if err := ses.Interrupt(t.Context(), "", ""); err != nil {
			t.Fatal(err)
		}
		if c, err = ses.History().WaitCell(t.Context(), c.ID); err != nil || c.Status != cellhold.StatusInterrupted {
			t.Fatalf("the interrupted cell ended with %s (%s), %v", c.Status, c.Cause, err)
		}
	}
}

func TestASessionCanBeginWithAnotherKernel(t *testing.T) {
	s := newHost(t).serve(t)
	ses := s.create(t, registry.CreateRequest{Kernel: "toy"})
	if k := ses.Info().Kernels; len(k) != 1 || k[0].ID != "toy" || k[0].Spec != "toy" || k[0].State != cellhold.KernelIdle {
		t.Errorf("got the kernels %+v, want an idle kernel of the kernelspec toy", k)
	}
}

func TestANoteOfASessionSurvivesARestartOfTheServer(t *testing.T) {
	h := newHost(t)
	s := h.serve(t)
	ses := s.create(t, registry.CreateRequest{Meta: map[string]string{"a": "1", "b": "2"}})
	before := ses.Info().Meta
	add := func(old string) (string, error) { return old + "+", nil }
	if err := session.SetNote(t.Context(), ses, "a", add); err != nil {
		t.Fatal(err)
	}
	if before["a"] != "1" {
		t.Error("a reader's copy changed")
	}
	long := func(string) (string, error) { return strings.Repeat("x", 1025), nil }
	if err := session.SetNote(t.Context(), ses, "a", long); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a long value: got %v, want it refused", err)
	}
	s.stop()
	s = h.serve(t)
	again, err := s.Session(t.Context(), ses.Record().Owner, ses.ID())
	if err != nil {
		t.Fatal(err)
	}
	if m := again.Info().Meta; m["a"] != "1+" || m["b"] != "2" {
		t.Errorf("got %v, want the changed note and the other one", m)
	}
	if err := again.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := session.SetNote(t.Context(), again, "a", add); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("an ended session: got %v, want not found", err)
	}
}
