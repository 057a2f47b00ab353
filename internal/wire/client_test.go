package wire

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

func TestOutputAboveTheRingIsDroppedAndStatesAreKept(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		c.Detach()
		l := <-w.links
		for range queueBytes>>20 + 3 {
			l.to <- message(IOPub, "stream", "1", 1<<20)
		}
		l.to <- message(IOPub, "status", "1", 0)
		synctest.Wait()
		list := w.waiting(w.connect("a"))
		if n := len(list); n > queueBytes>>20+2 || n < queueBytes>>20 || list[n-1] != IOPub+" status" || list[n-2] != IOPub+" stream" {
			t.Errorf("%d messages wait: %v", n, list[max(n-4, 0):])
		}
	})
}

func TestAClientThatLetsStatesFillItsSpaceIsDisconnected(t *testing.T) {
	inWorld(t, func(w *world) {
		c, other := w.connect("a"), w.connect("b")
		l := <-w.links
		for range (queueBytes+reserveBytes)>>20 + 1 {
			l.to <- message(IOPub, "status", "1", 1<<20)
			if got := w.waiting(other); len(got) != 1 {
				t.Fatalf("the other client got %v", got)
			}
		}
		list := w.waiting(c)
		if last := list[len(list)-1]; !strings.Contains(last, "does not read") {
			t.Errorf("the last one is %s", last)
		}
		again := w.connect("a")
		l.to <- message(IOPub, "status", "1", 0)
		if got := w.waiting(again); len(got) != 1 {
			t.Errorf("the next connection got %v", got)
		}
	})
}

func TestAMessageThatWasNotWrittenIsSentToTheNextConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.connect("a")
		l := <-w.links
		for _, kind := range []string{"one", "two"} {
			l.to <- message(IOPub, kind, "1", 0)
		}
		receive := func(c *Wire) string {
			f, err := c.Receive(w.ctx)
			h, _, _ := jupyter.DecodeHeader(f.Header)
			if err != nil {
				t.Error(err)
			}
			return h.MsgType
		}
		receive(first)
		second := w.connect("a")
		first.Written() // after it was replaced
		if got := receive(second); got != "two" {
			t.Errorf("after a message that was written: %s", got)
		}
		second.Detach()
		third := w.connect("a")
		if got := receive(third); got != "two" {
			t.Errorf("after a message that was not written: %s", got)
		}
		second.Written() // too late
		if got := w.waiting(third); !slices.Equal(got, []string{"iopub two"}) {
			t.Errorf("at the end: %v", got)
		}
	})
}

func TestMessagesOfAClientThatDoesNotReturnAreForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.connect("a").Detach()
		l := <-w.links
		l.to <- message(IOPub, "stream", "1", 1<<20)
		synctest.Wait()
		<-time.After(keepFor - time.Second)
		w.connect("a").Detach()
		<-time.After(keepFor - time.Second)
		w.look(func(k *kernel) {
			if len(k.clients) != 1 {
				t.Errorf("%d clients before the time", len(k.clients))
			}
		})
		<-time.After(2 * time.Second)
		synctest.Wait()
		w.look(func(k *kernel) {
			if len(k.clients) != 0 || k.link != nil {
				t.Errorf("%d clients after the time, and the link %v", len(k.clients), k.link)
			}
		})
	})
}

func TestTheNumberOfClientsIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range maxAway + 3 {
			w.connect(fmt.Sprint(i)).Detach()
			<-time.After(time.Second)
		}
		w.look(func(k *kernel) {
			if len(k.clients) != maxAway || k.clients["0"] != nil || k.clients[fmt.Sprint(maxAway+2)] == nil {
				t.Errorf("%d clients are away", len(k.clients))
			}
		})
		for i := range maxClients {
			w.connect(fmt.Sprint("here ", i))
		}
		if _, err := w.hub.Connect(w.ctx, "", "one more"); cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("one more client: %v", err)
		}
	})
}

// TestAClientWithSpaceOfItsOwnIsNeverDisconnected: otherwise the unread output of other clients would end this client's
// connection.
func TestAClientWithSpaceOfItsOwnIsNeverDisconnected(t *testing.T) {
	inWorld(t, func(w *world) {
		var slow []*Wire
		for i := range sessionBytes/queueBytes + 1 {
			slow = append(slow, w.connect(fmt.Sprint("slow ", i)))
		}
		l := <-w.links
		for range queueBytes>>20 + 2 {
			l.to <- message(IOPub, "stream", "1", 1<<20-2*frameCost)
		}
		synctest.Wait()
		live := w.connect("live")
		for _, m := range []guestapi.WireMessage{message(IOPub, "display_data", "1", 1<<20), message(IOPub, "status", "1", 0), message(IOPub, "stream", "1", 200<<10), message(IOPub, "stream", "1", 1<<20), message(IOPub, "status", "1", 0)} {
			l.to <- m
		}
		if got := w.waiting(live); !slices.Equal(got, []string{"iopub display_data", "iopub status", "iopub stream", "iopub status"}) || len(slow) == 0 {
			t.Errorf("got %v", got) // the third output is dropped, and the second stream is the note about it
		}
		for range 3 {
			l.to <- message(IOPub, "display_data", "1", 80<<10)
		}
		if got := w.waiting(live); !slices.Equal(got, []string{"iopub display_data", "iopub display_data", "iopub display_data"}) {
			t.Errorf("then %v", got)
		}
	})
}

// TestClientsThatLeftMakeRoom: pages that were closed do not come back.
func TestClientsThatLeftMakeRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range sessionBytes / queueBytes {
			w.connect(fmt.Sprint(i)).Detach()
			<-time.After(time.Second)
		}
		live := w.connect("live")
		l := <-w.links
		for range queueBytes>>20 - 1 {
			l.to <- message(IOPub, "stream", "1", 1<<20-2*frameCost)
			w.waiting(live)
		}
		w.look(func(k *kernel) {
			if k.clients["0"] == nil || k.clients["3"] == nil {
				t.Error("clients were dropped too early")
			}
		})
		next := w.connect("next")
		for range 8 {
			w.waiting(live)
			l.to <- message(IOPub, "stream", "1", 1<<20-2*frameCost)
		}
		w.look(func(k *kernel) {
			if k.clients["0"] != nil || k.clients["3"] == nil {
				t.Errorf("the first one is %v, the last one %v", k.clients["0"], k.clients["3"])
			}
		})
		if got := w.waiting(next); len(got) != 8 {
			t.Errorf("got %v", got)
		}
	})
}

// TestOwnersShareTheMemory: the clients of one owner leave space for those of other owners.
func TestOwnersShareTheMemory(t *testing.T) {
	p := &pool{owners: map[string]int64{}, away: map[*client]time.Time{}}
	of := func(owner string) *client {
		return newClient(newKernel(New(nil, owner, nil, slog.New(slog.DiscardHandler)), "k"), "c")
	}
	for i, owner := range []string{"a", "a", "a", "b", "b", "c"} {
		ok, _ := p.count(of(owner), sessionBytes)
		if want := i != 2 && i != 5; ok != want {
			t.Errorf("session %d of %s got its bytes: %v", i, owner, ok)
		}
	}
}

// TestAClientWithoutANameIsForgotten: such a client cannot return.
func TestAClientWithoutANameIsForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.connect("").Detach()
		w.look(func(k *kernel) {
			if len(k.clients) != 0 {
				t.Errorf("%d clients are left", len(k.clients))
			}
		})
	})
}

func TestTheClientsOfASessionShareABound(t *testing.T) {
	inWorld(t, func(w *world) {
		var clients []*Wire
		for i := range sessionBytes/queueBytes + 1 {
			clients = append(clients, w.connect(fmt.Sprint(i)))
		}
		l := <-w.links
		for range queueBytes >> 20 {
			l.to <- message(IOPub, "stream", "1", 1<<20-2*frameCost)
		}
		w.look(func(k *kernel) {
			if held := k.hub.held; held > sessionBytes || held < sessionBytes-4<<20 {
				t.Errorf("%d bytes wait, the bound is %d", held, sessionBytes)
			}
		})
		for _, c := range clients {
			c.Close()
		}
		if held := w.hub.held; held != 0 {
			t.Errorf("%d bytes are counted at the end", held)
		}
	})
}

// TestClientsThatLeftAnotherKernelMakeRoom: the kernels of a session share a bound.
func TestClientsThatLeftAnotherKernelMakeRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range sessionBytes / queueBytes {
			w.connectTo("k2", fmt.Sprint(i)).Detach()
			<-time.After(time.Second)
		}
		other := <-w.links
		for range queueBytes >> 20 {
			other.to <- message(IOPub, "stream", "1", 1<<20-2*frameCost)
		}
		live := w.connect("live")
		l := <-w.links
		for range 4 {
			l.to <- message(IOPub, "stream", "1", 1<<20)
		}
		if got := w.waiting(live); len(got) != 4 {
			t.Errorf("got %v", got)
		}
		k := w.hub.find("k2")
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.clients["0"] != nil || k.clients["3"] == nil {
			t.Errorf("%d clients of the other kernel are left", len(k.clients))
		}
	})
}
