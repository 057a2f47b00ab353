package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
)

// closing is an agent that ends each connection after one more event.
type closing struct {
	*agent
	connections atomic.Int64
}

func (c *closing) Events(_ context.Context, after int64) iter.Seq2[guestapi.Event, error] {
	return func(yield func(guestapi.Event, error) bool) {
		c.connections.Add(1)
		c.mu.Lock()
		ev := c.evs[0]
		c.mu.Unlock()
		ev.Seq = after + 1
		if yield(ev, nil) {
			yield(guestapi.Event{}, errors.New("the link broke"))
		}
	}
}

func TestAnAgentThatEndsEachConnectionIsAskedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &closing{agent: newAgent(silent)}
		w := openWith(t, newMemory(), c.agent, func(o *kernel.Options) { o.Link = c })
		<-time.After(time.Minute)
		if n := c.connections.Load(); n > 40 {
			t.Errorf("the server connected %d times in a minute, want at most 40", n)
		}
		w.stop()
	})
}

// counting is an agent that counts the events that the server has asked for, and has not recorded.
type counting struct {
	*agent
	asked chan int64 // numbers of the events, in order
}

func (c *counting) Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error] {
	return func(yield func(guestapi.Event, error) bool) {
		for ev, err := range c.agent.Events(ctx, after) {
			if err == nil {
				c.asked <- ev.Seq
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

func TestOneLargeEventAtATimeWaitsForTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newMemory()
		c := &counting{agent: newAgent(silent), asked: make(chan int64, 100)}
		w := openWith(t, j, c.agent, func(o *kernel.Options) { o.Link, o.CellOutput, o.SessionOutput = c, 1<<30, 1<<30 })
		<-c.asked
		synctest.Wait()
		gate := make(chan struct{})
		j.mu.Lock()
		j.gate = gate // the journal takes no event
		j.mu.Unlock()
		for range 3 {
			c.say("", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: strings.Repeat("x", 1<<20)})
		}
		synctest.Wait()
		if n := len(c.asked); n != 1 {
			t.Errorf("the server has asked for %d large events before one is recorded, want 1", n)
		}
		close(gate)
		synctest.Wait()
		if n := len(c.asked); n != 3 {
			t.Errorf("the server has asked for %d events when the journal works again, want 3", n)
		}
		w.stop()
	})
}

func TestDisplaysOfRunningCellsWithoutSpaceInMemoryAreOnlyInTheEvents(t *testing.T) {
	const each, most = 14<<20 - 64<<10, 112 << 20 // most is the bound of one session
	page := json.RawMessage(`"` + strings.Repeat("x", each) + `"`)
	show := func(a *agent, r guestapi.Execute) {
		for range 2 {
			a.say(r.Cell, cellhold.EventDisplayData, cellhold.DisplayContent{Data: map[string]json.RawMessage{"text/html": page}})
		}
		a.say(r.Cell, cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "shown"})
	}
	log, err := kernel.NewLog(t.Context(), "s", newMemory())
	if err != nil {
		t.Fatal(err)
	}
	start := func(id cellhold.CellID) *world {
		w := openWith(t, newMemory(), newAgent(show), func(o *kernel.Options) { o.Log, o.CellOutput, o.SessionOutput = log, 1<<30, 1<<30 })
		after := log.Last()
		w.submit(t, id)
		for ev, err := range log.Watch(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Cell == id && ev.Type == cellhold.EventStream {
				break
			}
		}
		return w
	}
	displays := func(w *world, id cellhold.CellID) (n int) {
		c, _ := w.kernel.Cell(id)
		for _, o := range c.Outputs {
			if o.Type == cellhold.EventDisplayData {
				n++
			}
		}
		if last := c.Outputs[len(c.Outputs)-1]; last.Text != "shown" {
			t.Errorf("the last output of cell %s is %q", id, last.Text)
		}
		return n
	}
	var first *world
	total := 0
	for _, id := range []cellhold.CellID{"c0", "c1", "c2", "c3", "c4"} {
		w := start(id)
		if total += displays(w, id); first == nil {
			first = w
		}
	}
	if total != most/each {
		t.Errorf("the running cells have %d displays, want %d", total, most/each)
	}
	first.agent.done("c0", cellhold.StatusOK)
	first.wait(t, "c0")
	if n := displays(start("c5"), "c5"); n != 2 {
		t.Errorf("after the end of a cell, another has %d displays, want 2", n)
	}
}
