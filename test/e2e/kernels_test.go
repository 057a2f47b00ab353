package e2e

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/client"
)

// runOn runs a cell on a kernel, and returns it when it is done.
func (s *server) runOn(t testing.TB, id cellhold.SessionID, k cellhold.KernelID, code string) cellhold.Cell {
	t.Helper()
	c, err := s.Execute(t.Context(), id, client.Code{Kernel: k, Code: code})
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	return c
}

// The test also checks the interrupts and the shared files of two kernels, and a kill of the server.
func TestTheKernelsOfASessionHaveTheirOwnVariablesAndQueues(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	specs, err := s.KernelSpecs(t.Context(), id)
	if err != nil || !slices.ContainsFunc(specs, func(k cellhold.KernelSpec) bool { return k.Name == "python3" && k.Language == "python" }) {
		t.Fatalf("the kernelspecs are %+v (%v), want python3", specs, err)
	}
	k, err := s.AddKernel(t.Context(), id, "python3", "second")
	if err != nil {
		t.Fatal(err)
	}
	if k.ID != "second" || k.Spec != "python3" || k.State != cellhold.KernelIdle || k.Language != "python" {
		t.Errorf("the second kernel is %+v, want an idle python3 with the id second", k)
	}
	s.must(t, id, "x = 1; open('/workspace/shared', 'w').write('both')")
	if c := s.runOn(t, id, "second", "print(open('/workspace/shared').read(), 'x' in globals()); x = 2"); text(c) != "both False\n" {
		t.Errorf("the second kernel sees %q, want \"both False\"", text(c))
	}
	var own bytes.Buffer
	if err := s.Export(t.Context(), id, "second", "ipynb", &own); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(own.String(), "x = 2") || strings.Contains(own.String(), "'both'") {
		t.Errorf("the second kernel's notebook:\n%s\nwant only its own cell", &own)
	}
	if err := s.Export(t.Context(), id, "third", "ipynb", io.Discard); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("the notebook of an unknown kernel: got %v, want kind not_found", err)
	}
	busy, err := s.Submit(t.Context(), id, client.Code{Code: "print('go', flush=True)\nimport time; time.sleep(600)"})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, busy)
	s.signal(t, syscall.SIGKILL)

	s = serve(t, home)
	if c := s.runOn(t, id, "second", "x"); text(c) != "2" {
		t.Errorf("after a kill of the server, while the first kernel is busy, the second kernel prints %q, want 2", text(c))
	}
	if err := s.Interrupt(t.Context(), id, "second"); err != nil {
		t.Fatal(err)
	}
	if c, _ := s.Cell(t.Context(), id, busy.ID); c.State != cellhold.CellRunning {
		t.Errorf("after an interrupt of the second kernel, the cell of the first kernel is %s, want running", c.State)
	}
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c, _ := s.Wait(t.Context(), id, busy.ID); c.Status != cellhold.StatusInterrupted {
		t.Errorf("the interrupted cell ended with %s, want interrupted", c.Status)
	}
	if out := s.must(t, id, "x"); out != "1" {
		t.Errorf("after the interrupt the first kernel's x is %s, want 1", out)
	}
	if err := s.DeleteKernel(t.Context(), id, "second"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Kernels(t.Context(), id); err != nil || len(all) != 1 {
		t.Errorf("the remaining kernels are %+v (%v), want 1", all, err)
	}
}
