package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/record"
	"cellhold/internal/session/terms"
)

// link is the agent's end of a wire.
type link struct {
	to     chan guestapi.WireMessage // for the host
	got    chan guestapi.WireMessage // of the host
	noted  string                    // msg_id of a message on stdin that is refused
	silent bool                      // probes get no answer
	probes atomic.Int64
	once   sync.Once
	done   chan struct{}
}

func newLink() *link {
	return &link{to: make(chan guestapi.WireMessage), got: make(chan guestapi.WireMessage, 100), done: make(chan struct{})}
}

// Send answers probes.
func (l *link) Send(m guestapi.WireMessage) error {
	if strings.Contains(string(m.Header), `"kernel_info_request"`) {
		l.probes.Add(1)
		if l.silent {
			return nil
		}
		for _, a := range []guestapi.WireMessage{message(IOPub, "status", "", 0), message(Control, "kernel_info_reply", "", 0)} {
			a.Parent = m.Header
			select {
			case l.to <- a:
			case <-l.done:
			}
		}
		return nil
	}
	l.got <- m
	if h, _, _ := jupyter.DecodeHeader(m.Header); h.MsgID == l.noted && m.Channel == Stdin {
		l.to <- guestapi.WireMessage{Channel: Stdin, Header: []byte("{}"), Parent: m.Header, Problem: "No."}
	}
	return nil
}

func (l *link) Close() error { l.once.Do(func() { close(l.done) }); return nil }

func (l *link) Receive() (guestapi.WireMessage, error) {
	select {
	case m := <-l.to:
		return m, nil
	case <-l.done:
		return guestapi.WireMessage{}, io.ErrClosedPipe
	}
}

// world is a session with one kernel. It is its own sandbox, queue and log.
type world struct {
	*testing.T
	hub      *Hub
	ctx      context.Context
	stop     context.CancelFunc
	wires    []*Wire
	work     sync.WaitGroup
	links    chan *link // that were opened
	events   chan record.Event
	cells    chan terms.Cell
	restarts chan error // results of the next restarts
	pending  []record.Cell
	ended    []record.Cell
	question int64
	answered chan int64
	owner    string
	running  chan struct{}        // if not nil, Wait returns when it is closed
	silent   bool                 // probes get no answer
	state    cellhold.KernelState // idle if empty
	accept   chan struct{}        // closed when cells are accepted
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, links: make(chan *link, 10), events: make(chan record.Event), cells: make(chan terms.Cell, 10),
		restarts: make(chan error, 10), answered: make(chan int64, 10), accept: make(chan struct{})}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.hub = New(w, w.owner, w, slog.New(slog.DiscardHandler))
	t.Cleanup(w.end)
	return w
}

func (w *world) end() {
	w.stop()
	w.hub.Close(nil)
	w.work.Wait()
	for _, c := range w.wires {
		c.Close()
	}
}

// look calls f with the kernel, while nothing changes it.
func (w *world) look(f func(k *kernel)) {
	synctest.Wait()
	k := w.hub.find("k")
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k)
}

func (w *world) Kernel(id cellhold.KernelID) (cellhold.KernelID, Queue, error) {
	switch id {
	case "", "k":
		return "k", w, nil
	case "k2":
		return "k2", w, nil
	}
	return "", nil, cellhold.Errorf(cellhold.NotFound, "Kernel not found.")
}

func (w *world) Present() Sandbox { return w }

func (w *world) Enter(context.Context) (Sandbox, func(), error) {
	return w, func() {}, nil
}

func (w *world) Submit(_ context.Context, c terms.Cell) error { w.cells <- c; return nil }

func (w *world) Restart(context.Context, cellhold.KernelID) error {
	return <-w.restarts
}

func (w *world) Ended() bool { return false }

func (w *world) Go(f func(context.Context)) { w.work.Go(func() { f(w.ctx) }) }

func (w *world) Run(f func(context.Context)) error {
	w.Go(f)
	return nil
}

func (w *world) Requested() []record.Cell { return w.pending }

func (w *world) Question() int64 { return w.question }

func (w *world) Answered(_ context.Context, question int64) { w.answered <- question }

func (w *world) Cell(_ context.Context, id cellhold.CellID) (record.Cell, error) {
	for _, c := range w.ended {
		if c.ID == id {
			return c, nil
		}
	}
	return record.Cell{}, cellhold.Errorf(cellhold.NotFound, "Cell not found.")
}

func (w *world) Wait(ctx context.Context, _ cellhold.CellID) (record.Cell, bool, error) {
	if w.running != nil {
		<-w.running
	}
	return record.Cell{}, false, nil
}

func (w *world) State() cellhold.Kernel {
	return cellhold.Kernel{State: cmp.Or(w.state, cellhold.KernelIdle)}
}

func (w *world) Last() int64 { return 0 }

func (w *world) WaitAccepted(ctx context.Context, _ cellhold.CellID) error {
	select {
	case <-w.accept:
	case <-ctx.Done():
	}
	return nil
}

func (w *world) OpenLink(context.Context, cellhold.KernelID) (Link, error) {
	l := newLink()
	l.silent = w.silent
	w.links <- l
	return l, nil
}

func (w *world) Watch(ctx context.Context, _ int64) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		for {
			select {
			case ev := <-w.events:
				if !yield(ev, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// connect connects a client, and returns the link of the kernel if it was opened now.
func (w *world) connect(name string) *Wire {
	w.Helper()
	return w.connectTo("k", name)
}

func (w *world) connectTo(id cellhold.KernelID, name string) *Wire {
	w.Helper()
	c, err := w.hub.Connect(w.ctx, id, name)
	if err != nil {
		w.Fatal(err)
	}
	w.wires = append(w.wires, c)
	return c
}

func raw(msgType, id string) json.RawMessage {
	return fmt.Appendf(nil, `{"msg_id":%q,"msg_type":%q,"session":"s"}`, id, msgType)
}

func message(channel, msgType, parent string, size int) guestapi.WireMessage {
	return guestapi.WireMessage{Channel: channel, Header: raw(msgType, "m"), Parent: raw("x", parent), Metadata: []byte("{}"),
		Content: []byte(`{"execution_state":"busy"}`), Buffers: [][]byte{make([]byte, size)}}
}

// waiting returns the messages that wait for a client, in short.
func (w *world) waiting(c *Wire) (list []string) {
	w.Helper()
	synctest.Wait()
	for {
		f, ok, err := c.next()
		if !ok {
			if err != nil {
				list = append(list, err.Error())
			}
			return list
		}
		var h struct {
			Kind string `json:"msg_type"`
		}
		json.Unmarshal(f.Header, &h)
		list = append(list, f.Channel+" "+h.Kind)
		c.Written()
	}
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f(w)
		w.end()
		if shared.total != 0 || len(shared.owners) != 0 || len(shared.away) != 0 {
			t.Errorf("after the end: %+v", shared)
		}
	})
}

func TestALinkThatBreaksIsOpenedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		l.Close()
		next := <-w.links
		next.to <- message(IOPub, "stream", "", 0)
		if got := w.waiting(c); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		c.Close()
		<-next.done
		if w.connect("a"); len(w.links) != 1 {
			t.Error("the next client got no link")
		}
	})
}

// done returns the event of the end of a cell.
func done(id cellhold.CellID, c cellhold.CellDoneContent) record.Event {
	return record.NewEvent(cellhold.EventCellDone, "k", id, c)
}

func TestAKernelThatCannotBeRestartedIsDead(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		w.restarts <- errors.New("no")
		w.events <- record.NewEvent(cellhold.EventKernelState, "k", "", cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cellhold.StatusLost, Detail: "It ended."})
		if got := w.waiting(c); !slices.Equal(got, []string{"iopub stream", "iopub status", "iopub status"}) {
			t.Errorf("got %v", got)
		}
		w.look(func(k *kernel) {
			if !k.dead {
				t.Error("the clients do not know that the kernel is dead")
			}
		})
	})
}

func dead(cause cellhold.CellStatus) record.Event {
	return record.NewEvent(cellhold.EventKernelState, "k", "", cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cause, Detail: "It ended."})
}

// TestADeathIsReportedOnce: a new sandbox reports the end of the kernels of the last one again.
func TestADeathIsReportedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		w.events <- dead(cellhold.StatusLost)
		w.events <- dead(cellhold.StatusLost) // while the restart runs
		if got := w.waiting(c); !slices.Equal(got, []string{"iopub stream", "iopub status"}) {
			t.Errorf("got %v", got)
		}
		w.restarts <- errors.New("no")
		w.waiting(c)
		w.events <- dead(cellhold.StatusLost)
		if got := w.waiting(c); len(got) != 0 {
			t.Errorf("then %v", got)
		}
	})
}

// TestStatesOfAnAgentStartOneGoroutine: an agent can send states without end.
func TestStatesOfAnAgentStartOneGoroutine(t *testing.T) {
	inWorld(t, func(w *world) {
		w.silent = true
		w.connect("a")
		l := <-w.links
		for range 100 {
			for _, s := range []cellhold.KernelState{cellhold.KernelRestarting, cellhold.KernelIdle} {
				w.events <- record.NewEvent(cellhold.EventKernelState, "k", "", cellhold.KernelStateContent{State: s})
			}
		}
		w.look(func(k *kernel) {
			if n := l.probes.Load(); n > 2 { // one at the connection
				t.Errorf("%d probes were sent", n)
			}
		})
	})
}

func TestASandboxThatWasReplacedGetsNoLink(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		old := &world{T: t, links: make(chan *link, 1)}
		k := w.hub.find("k")
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if _, err := k.open(ctx, old); err == nil {
			t.Error("want an error")
		}
		l.to <- message(IOPub, "stream", "1", 0)
		if got := w.waiting(c); len(got) != 1 || len(w.links)+len(old.links) != 0 {
			t.Errorf("got %v, and %d links were opened", got, len(w.links)+len(old.links))
		}
	})
}

// TestAClientGetsTheStateOfAKernelThatDoesNotAnswer: a front end would show no state after a reload of its page.
func TestAClientGetsTheStateOfAKernelThatDoesNotAnswer(t *testing.T) {
	for _, state := range []cellhold.KernelState{cellhold.KernelDead, cellhold.KernelBusy} {
		inWorld(t, func(w *world) {
			w.state = state
			f, ok, err := w.connect("a").next()
			if want := fmt.Sprintf(`{"execution_state":%q}`, state); !ok || string(f.Content) != want {
				t.Errorf("got %s, %v; want %s", f.Content, err, want)
			}
		})
	}
}

// TestTheStateBusyDoesNotFollowTheIdleOfACell: the end of a cell is recorded some seconds after its last message.
func TestTheStateBusyDoesNotFollowTheIdleOfACell(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.connect("a")
		w.state = cellhold.KernelBusy
		l := <-w.links
		l.to <- guestapi.WireMessage{Channel: IOPub, Header: raw("status", "m"), Parent: raw("execute_request", "1"), Content: []byte(`{"execution_state":"idle"}`)}
		w.waiting(a)
		if got := w.waiting(w.connect("b")); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})
}

// TestKernelsAreFlushedAtTheSameTime: a session waits for all its kernels before it is saved.
func TestKernelsAreFlushedAtTheSameTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.silent = true
		w.connectTo("k", "a")
		w.connectTo("k2", "a")
		begun := time.Now()
		w.hub.Flush(w.ctx)
		if took := time.Since(begun); took != probeTime {
			t.Errorf("the flush took %s, want %s", took, probeTime)
		}
	})
}

// TestAnAskedRestartIsNoDeath: front ends take the state restarting for a death, and forget their requests then.
func TestAnAskedRestartIsNoDeath(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		if err := c.Send(w.ctx, Frame{Channel: Control, Header: raw("x_request", "1")}); err != nil {
			t.Fatal(err)
		}
		<-l.got
		for _, s := range []cellhold.KernelState{cellhold.KernelRestarting, cellhold.KernelIdle} {
			w.events <- record.NewEvent(cellhold.EventKernelState, "k", "", cellhold.KernelStateContent{State: s})
		}
		synctest.Wait()
		var own, answers []string // states of the kernel, and what the client gets for its request
		for f, ok, _ := c.next(); ok; f, ok, _ = c.next() {
			var m struct {
				State string `json:"execution_state"`
				Name  string `json:"ename"`
			}
			if err := json.Unmarshal(f.Content, &m); err != nil {
				t.Fatal(err)
			}
			if string(f.Parent) == "{}" {
				own = append(own, m.State)
			} else {
				answers = append(answers, m.State+m.Name)
			}
			c.Written()
		}
		if !slices.Equal(own, []string{"starting", "idle"}) || !slices.Equal(answers, []string{"busy", "Restarted", "idle"}) {
			t.Errorf("the states are %v, and the answers %v", own, answers)
		}
	})
}
