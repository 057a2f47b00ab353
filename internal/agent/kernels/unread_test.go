package kernels_test

import (
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter/stream"
)

// TestAKernelThatStopsReadingBlocksNothing: its code forges the end of a cell whose request it does not read.
func TestAKernelThatStopsReadingBlocksNothing(t *testing.T) {
	var kernel sync.WaitGroup
	began, forge := make(chan struct{}), make(chan struct{})
	r := newRig(t, kernels.Timing{Shutdown: 10 * time.Millisecond, Interrupt: 10 * time.Millisecond}, "", func() (kernels.Process, error) {
		b := newBroken(t)
		kernel.Go(func() { b.readOne(t, began, forge) })
		return b, nil
	})
	r.states(cellhold.KernelIdle)
	var executed sync.WaitGroup
	executed.Go(func() {
		if _, err := r.Execute(guestapi.Execute{Cell: "c1", Code: strings.Repeat("x", guestapi.MaxCode), Timeout: patience}); err != nil {
			t.Error(err)
		}
	})
	<-began
	r.Interrupt("c1")
	close(forge)
	kernel.Wait()
	r.done("c1")
	r.Delete() // the request to end cannot be sent either
	executed.Wait()
}

// done waits for the end of a cell.
func (r *rig) done(id cellhold.CellID) {
	r.Helper()
	r.await(func(e guestapi.Event) bool { return e.Type == cellhold.EventCellDone && e.Cell == id }, func() {
		r.Helper()
		r.Fatalf("cell %s did not end", id)
	})
}

// readOne answers one request, and reads the beginning of another one. When it must forge, it sends the end of that.
func (b *broken) readOne(t *testing.T, began chan<- struct{}, forge <-chan struct{}) {

	end := stream.New(b.theirs, stream.Options{})
	answer := func(ch stream.Channel, msgType string, parent []byte, content string) {
		if err := end.Send(ch, []byte(`{"msg_type":"`+msgType+`"}`), parent, []byte("{}"), []byte(content)); err != nil {
			t.Error(err)
		}
	}
	m, err := end.Recv()
	if err != nil {
		t.Error(err)
		return
	}
	answer(stream.Shell, "kernel_info_reply", m.Parts[0], "{}")
	head := make([]byte, 200)
	if _, err := io.ReadFull(b.theirs, head); err != nil {
		t.Error(err)
		return
	}
	close(began)
	<-forge
	parent := append(regexp.MustCompile(`{"msg_id":"[^"]*"`).Find(head), '}')
	answer(stream.Shell, "execute_reply", parent, `{"status":"ok"}`)
	answer(stream.IOPub, "status", parent, `{"execution_state":"idle"}`)
}
