//go:build !race

// The race detector makes these tests slow: half a minute for one, and long reads end by their time limit.

package server

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/internal/memory"
	"cellhold/internal/record"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
)

// readStore compares the bytes that are written with the events that are read. Memory of the server's budget is released
// when the consumer of an event returns.
type readStore struct {
	registry.Store
	written     atomic.Int64 // bytes of the answer
	read, early atomic.Int32 // events, and those that were released before they were written
	broken      atomic.Bool  // reads fail
}

func (s *readStore) Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		for ev, err := range s.Store.Read(ctx, id, after) {
			if s.broken.Load() {
				yield(record.Event{}, errors.New("the disk is broken"))
				return
			}
			before := s.written.Load()
			more := yield(ev, err)
			if size := int64(len(ev.Content)); size > 10_000 && memory.HasPatience(ctx) && (ev.Type == cellhold.EventDisplayData || ev.Type == cellhold.EventStream) {
				s.read.Add(1)
				if s.written.Load()-before < size/2 {
					s.early.Add(1)
				}
			}
			if !more {
				return
			}
		}
	}
}

// newReadHarness returns a server whose store is a readStore.
func newReadHarness(t *testing.T) (*harness, *readStore) {
	s := &readStore{}
	return newHarnessWith(t, func(o *registry.Options) { s.Store, o.Store = o.Store, s }, nil), s
}

// heldAnswer is an answer whose first byte is written after begin is closed.
type heldAnswer struct {
	header http.Header
	begin  chan struct{}
	store  *readStore
}

func (a *heldAnswer) Header() http.Header { return a.header }
func (a *heldAnswer) WriteHeader(int)     {}
func (a *heldAnswer) Flush()              {}

func (a *heldAnswer) Write(p []byte) (int, error) {
	<-a.begin
	a.store.written.Add(int64(len(p)))
	return len(p), nil
}

// large has 2.25 MB, so the events of code that shows it are read from the store.
var large = strings.Repeat("<b>", 750_000)

func TestAnEventOfAStreamIsWrittenBeforeItsMemoryIsReleased(t *testing.T) {
	for name, test := range map[string]struct {
		request func(*box) *http.Request
		ends    cellhold.EventType
	}{
		"code": {func(b *box) *http.Request {
			return b.request("POST", "49999", "/execute", `{"code":"display text/html `+large+`"}`)
		}, cellhold.EventCellDone},
		"a process": {func(b *box) *http.Request {
			return b.opening("process.Process/Start", `{"process":{"cmd":"bytes","args":["6000000"]}}`)
		}, cellhold.EventCommandDone},
	} {
		t.Run(name, func(t *testing.T) {
			h, store := newReadHarness(t)
			b := h.box(`{}`)
			answer := &heldAnswer{http.Header{}, make(chan struct{}), store}
			var handler sync.WaitGroup
			handler.Go(func() { h.server.Handler().ServeHTTP(answer, test.request(b)) })
			await(t, b.session(), test.ends)
			close(answer.begin)
			handler.Wait()
			if read, early := store.read.Load(), store.early.Load(); read == 0 || early > 0 {
				t.Errorf("%d of %d large events were released before they were written, want 0 of at least 1", early, read)
			}
		})
	}
}

func TestALineOfHTMLIsNotLargerThanItsContent(t *testing.T) {
	b := newHarness(t).box(`{}`)
	if a := b.send(200, "POST", "49999", "/execute", `{"code":"display text/html `+large+`"}`); len(a.body) > len(large)+1000 {
		t.Errorf("got %d bytes for %d bytes of HTML", len(a.body), len(large))
	}
}

// TestAnErrorOfTheServerDoesNotInterruptTheCode: the client is connected, and only the answer breaks.
func TestAnErrorOfTheServerDoesNotInterruptTheCode(t *testing.T) {
	h, store := newReadHarness(t)
	b := h.box(`{}`)
	answer := &heldAnswer{http.Header{}, make(chan struct{}), store}
	broken := make(chan any)
	go func() {
		defer func() { broken <- recover() }()
		h.server.Handler().ServeHTTP(answer, b.request("POST", "49999", "/execute", `{"code":"display text/html `+large+`\nloop"}`))
	}()
	await(t, b.session(), cellhold.EventDisplayData)
	store.broken.Store(true)
	close(answer.begin)
	if got := <-broken; got != http.ErrAbortHandler {
		t.Errorf("the handler ended with %v, want a broken answer", got)
	}
	if !strings.Contains(h.log.String(), "the disk is broken") {
		t.Error("the log has no reason")
	}
	store.broken.Store(false)
	if err := h.world.Kill(sandbox.ID(b.session().Record().Sandbox), sandbox.Exit{}); err != nil { // ends the code, if it still runs
		t.Fatal(err)
	}
	await(t, b.session(), cellhold.EventCellDone)
	for c, err := range b.session().History().Cells(t.Context()) {
		if err != nil || c.Status != cellhold.StatusLost {
			t.Errorf("after the end of the sandbox: got the status %s and %v, want lost", c.Status, err)
		}
	}
}
