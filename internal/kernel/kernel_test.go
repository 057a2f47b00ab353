package kernel_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
)

// memory is a journal in memory.
type memory struct {
	mu    sync.Mutex
	evs   []record.Event
	cells map[cellhold.CellID]record.Cell
	fail  error         // error of the next Append
	gate  chan struct{} // if not nil, Append waits until it is closed
	puts  []record.Cell // the records in the order of their writes, without outputs
}

func newMemory() *memory { return &memory{cells: map[cellhold.CellID]record.Cell{}} }

func (m *memory) Append(_ context.Context, _ cellhold.SessionID, evs []record.Event, cells ...record.Cell) error {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		<-gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail; err != nil {
		m.fail = nil
		return err
	}
	m.evs = append(m.evs, evs...)
	for _, c := range cells {
		m.cells[c.ID] = c
		c.Outputs, c.Ended = nil, time.Now()
		m.puts = append(m.puts, c)
	}
	return nil
}

func (m *memory) Read(_ context.Context, _ cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	m.mu.Lock()
	evs := m.evs[min(int(after), len(m.evs)):]
	m.mu.Unlock()
	return func(yield func(record.Event, error) bool) {
		for _, ev := range evs {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (m *memory) Tail(context.Context, cellhold.SessionID) (seq, bytes int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range m.evs {
		bytes += int64(len(ev.Content))
	}
	return int64(len(m.evs)), bytes, nil
}

func (m *memory) Cursor(_ context.Context, _ cellhold.SessionID, _ cellhold.KernelID, boot string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := int64(0)
	for _, ev := range m.evs {
		if ev.Boot == boot {
			last = max(last, ev.Source)
		}
	}
	return last, nil
}

// agent is a kernel.Link to an agent in the test. It keeps its events and runs each cell once. The function run
// decides what a cell does.
type agent struct {
	mu      sync.Mutex
	evs     []guestapi.Event
	changed chan struct{}
	cut     chan struct{} // closed to break the link
	seen    map[cellhold.CellID]int
	acked   int64
	took    chan cellhold.CellID // receives each accepted cell, for tests that wait for it
	run     func(a *agent, r guestapi.Execute)
	refuse  error // error of every Execute
	restart func()
}

func newAgent(run func(a *agent, r guestapi.Execute)) *agent {
	a := &agent{changed: make(chan struct{}), cut: make(chan struct{}), seen: map[cellhold.CellID]int{},
		took: make(chan cellhold.CellID, 1000), run: run}
	a.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelIdle,
		Info: &cellhold.KernelInfo{Name: "toy", Language: "toy"}})
	return a
}

func (a *agent) say(c cellhold.CellID, t cellhold.EventType, content any) {
	a.sayAt(time.Now(), c, t, content)
}

func (a *agent) sayAt(at time.Time, c cellhold.CellID, t cellhold.EventType, content any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.evs = append(a.evs, guestapi.Event{Seq: int64(len(a.evs) + 1), Time: at, Cell: c, Type: t,
		Content: record.NewEvent(t, "", c, content).Content})
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) done(c cellhold.CellID, s cellhold.CellStatus) {
	a.say(c, cellhold.EventCellDone, cellhold.CellDoneContent{Status: s})
}

func (a *agent) breakLink() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.cut)
	a.cut = make(chan struct{})
}

func (a *agent) Start(context.Context, guestapi.StartKernel) error { return nil }
func (a *agent) Interrupt(context.Context, cellhold.CellID) error  { return nil }
func (a *agent) Input(context.Context, guestapi.InputReply) error  { return nil }
func (a *agent) Restart(context.Context) error                     { a.restart(); return nil }
func (a *agent) Ack(_ context.Context, seq int64) error            { a.acked = seq; return nil }

func (a *agent) Execute(_ context.Context, r guestapi.Execute) error {
	a.mu.Lock()
	if err := a.refuse; err != nil {
		a.mu.Unlock()
		return err
	}
	a.seen[r.Cell]++
	first := a.seen[r.Cell] == 1
	a.mu.Unlock()
	if first {
		a.took <- r.Cell
		a.run(a, r)
	}
	return nil
}

func (a *agent) Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error] {
	a.mu.Lock()
	cut := a.cut
	a.mu.Unlock()
	return func(yield func(guestapi.Event, error) bool) {
		for {
			a.mu.Lock()
			evs, changed := a.evs[min(int(after), len(a.evs)):], a.changed
			a.mu.Unlock()
			for _, ev := range evs {
				if !yield(ev, nil) {
					return
				}
				after = ev.Seq
			}
			select {
			case <-changed:
			case <-cut:
				yield(guestapi.Event{}, errors.New("the link broke"))
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// world is a kernel with its journal, log and agent.
type world struct {
	journal *memory
	agent   *agent
	log     *kernel.Log
	kernel  *kernel.Kernel
	oom     func() int64 // number of killed processes; nil means 0
	stuck   chan string
	stop    func()
}

// cellOutput and sessionOutput are the bounds of output in these tests.
const (
	cellOutput    = 256 << 10
	sessionOutput = 16 * cellOutput
)

// open runs a kernel on a journal and an agent until stop or the end of the test.
func open(t *testing.T, j *memory, a *agent, pending ...record.Cell) *world {
	t.Helper()
	return openWith(t, j, a, func(o *kernel.Options) { o.Pending = pending })
}

// openWith is open with other options.
func openWith(t *testing.T, j *memory, a *agent, change func(*kernel.Options)) *world {
	t.Helper()
	log, err := kernel.NewLog(t.Context(), "s", j)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{journal: j, agent: a, log: log, stuck: make(chan string, 1)}
	o := kernel.Options{ID: "toy", Session: "s", Boot: "b", Link: a, Log: log, Journal: j,
		Logger: slog.New(slog.DiscardHandler),
		OOMKills: func(context.Context) (int64, error) {
			if w.oom == nil {
				return 0, nil
			}
			return w.oom(), nil
		},
		Mirror:     func(context.Context) error { return nil },
		Stuck:      func(why string) { w.stuck <- why },
		CellOutput: cellOutput, SessionOutput: sessionOutput}
	change(&o)
	w.kernel, err = kernel.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.kernel.Run(ctx) })
	w.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(w.stop)
	if err := w.kernel.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) submit(t *testing.T, id cellhold.CellID) record.Cell {
	t.Helper()
	c, err := w.kernel.Submit(t.Context(), record.Cell{Cell: cellhold.Cell{ID: id, Session: "s", Code: string(id)}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) wait(t *testing.T, id cellhold.CellID) record.Cell {
	t.Helper()
	c, ok, err := w.kernel.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		w.journal.mu.Lock()
		defer w.journal.mu.Unlock()
		c = w.journal.cells[id]
	}
	return c
}

// echo is an agent that prints the code of each cell.
func echo(a *agent, r guestapi.Execute) {
	a.say(r.Cell, cellhold.EventCellStarted, cellhold.CellStartedContent{})
	a.say(r.Cell, cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: r.Code + "\n"})
	a.done(r.Cell, cellhold.StatusOK)
}

// silent is an agent that accepts cells and never ends them.
func silent(*agent, guestapi.Execute) {}

func TestACellRunsAndItsOutputsAreInItsRecord(t *testing.T) {
	w := open(t, newMemory(), newAgent(echo))
	w.submit(t, "c1")
	c := w.wait(t, "c1")
	if c.Status != cellhold.StatusOK || len(c.Outputs) != 1 || c.Outputs[0].Text != "c1\n" {
		t.Fatalf("the cell is %+v", c)
	}
	if c.First == 0 || c.Last <= c.First {
		t.Errorf("events %d to %d", c.First, c.Last)
	}
}

func TestManyCellsSentAtOnceRunOnceEachInOrder(t *testing.T) {
	w := open(t, newMemory(), newAgent(echo))
	var ids []cellhold.CellID
	for range 100 {
		id := cellhold.NewCellID()
		ids = append(ids, id)
		w.submit(t, id)
	}
	for _, id := range ids {
		w.wait(t, id)
	}
	var got []cellhold.CellID
	for ev := range w.journal.Read(t.Context(), "s", 0) {
		if ev.Type == cellhold.EventCellDone {
			got = append(got, ev.Cell)
		}
	}
	if len(got) != len(ids) {
		t.Fatalf("%d cells done, want %d", len(got), len(ids))
	}
	for i := range ids {
		if got[i] != ids[i] || w.agent.seen[ids[i]] != 1 {
			t.Fatalf("cell %d: got %s want %s, sent %d times", i, got[i], ids[i], w.agent.seen[ids[i]])
		}
	}
}

func TestABrokenLinkLosesAndRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		w.submit(t, "c1")
		<-w.agent.took
		for i := range 100 {
			w.agent.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: string(rune('a' + i%26))})
			if i%7 == 0 {
				w.agent.breakLink()
			}
		}
		w.agent.done("c1", cellhold.StatusOK)
		c := w.wait(t, "c1")
		if got := len(c.Outputs[0].Text); got != 100 {
			t.Errorf("%d bytes of output, want 100", got)
		}
		w.stop()
	})
}

func TestEventsThatCannotBeRecordedAreRetriedAndFoldedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		w.submit(t, "c1")
		<-w.agent.took
		w.journal.mu.Lock()
		w.journal.fail = errors.New("disk full")
		w.journal.mu.Unlock()
		w.agent.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "once"})
		w.agent.done("c1", cellhold.StatusOK)
		if c := w.wait(t, "c1"); c.Outputs[0].Text != "once" {
			t.Errorf("output %q, want %q", c.Outputs[0].Text, "once")
		}
		w.stop()
	})
}

func TestACellThatCannotBeRecordedIsRefusedAndNotRun(t *testing.T) {
	w := open(t, newMemory(), newAgent(echo))
	w.journal.mu.Lock()
	w.journal.fail = errors.New("disk full")
	w.journal.mu.Unlock()
	_, err := w.kernel.Submit(t.Context(), record.Cell{Cell: cellhold.Cell{ID: "c1"}, Timeout: time.Minute})
	if cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if w.agent.seen["c1"] != 0 {
		t.Error("the refused cell ran")
	}
}

func TestAKillForLackOfMemoryHasItsStatus(t *testing.T) {
	w := open(t, newMemory(), newAgent(silent))
	w.oom = func() int64 { return 1 }
	w.submit(t, "c1")
	<-w.agent.took
	w.agent.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cellhold.StatusSignal, Signal: 9})
	w.agent.done("c1", cellhold.StatusSignal)
	if c := w.wait(t, "c1"); c.Status != cellhold.StatusOOM {
		t.Errorf("status %s, want oom", c.Status)
	}
	if k := w.kernel.State(); k.State != cellhold.KernelDead || k.Cause != cellhold.StatusOOM {
		t.Errorf("kernel %+v, want dead of oom", k)
	}
	if _, err := w.kernel.Submit(t.Context(), record.Cell{Cell: cellhold.Cell{ID: "c2"}, Timeout: time.Minute}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a dead kernel answered %v, want conflict", err)
	}
}

func TestARestartIsRetriedIfTheNewProcessIsKilledForLackOfMemory(t *testing.T) {
	for name, died := range map[string]struct {
		kills int64
		want  bool
	}{"killed for lack of memory": {1, true}, "killed for another reason": {0, false}} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(silent)
			dead := cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cellhold.StatusSignal, Signal: 9}
			starts := 0
			a.restart = func() {
				starts++
				a.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelRestarting})
				if starts == 1 {
					a.say("", cellhold.EventKernelState, dead)
					return
				}
				a.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelIdle})
			}
			w := open(t, newMemory(), a)
			w.oom = func() int64 { return died.kills }
			w.submit(t, "c1")
			<-a.took
			a.say("", cellhold.EventKernelState, dead)
			a.done("c1", cellhold.StatusSignal)
			w.wait(t, "c1")
			if err := w.kernel.Restart(t.Context()); (err == nil) != died.want {
				t.Errorf("after %d starts: %v", starts, err)
			}
		})
	}
}

func TestAnEarlierMemoryKillIsNotTheCauseOfALaterDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		w.oom = func() int64 { return 1 } // of a child process in an earlier cell
		w.submit(t, "c1")
		<-w.agent.took
		<-time.After(time.Second) // of the fake clock: the cell has been running for some time
		w.agent.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cellhold.StatusSignal, Signal: 9})
		w.agent.done("c1", cellhold.StatusSignal)
		if c := w.wait(t, "c1"); c.Status != cellhold.StatusSignal {
			t.Errorf("status %s, want signal", c.Status)
		}
		w.stop()
	})
}

func TestQueuedCellsOfAKernelThatDiesAreCancelled(t *testing.T) {
	w := open(t, newMemory(), newAgent(silent))
	w.submit(t, "c1")
	w.submit(t, "c2")
	<-w.agent.took
	w.agent.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cellhold.StatusExit, Exit: 1})
	w.agent.done("c1", cellhold.StatusExit)
	if c := w.wait(t, "c2"); c.Status != cellhold.StatusCancelled {
		t.Errorf("status %s, want cancelled", c.Status)
	}
}

func TestTheEndOfTheSandboxEndsEveryCell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		w.submit(t, "c1")
		w.submit(t, "c2")
		<-w.agent.took // c1 runs
		if err := w.kernel.Die(t.Context(), cellhold.StatusLost, "The sandbox is gone."); err != nil {
			t.Fatal(err)
		}
		if c := w.wait(t, "c1"); c.Status != cellhold.StatusLost {
			t.Errorf("running cell: %s, want lost", c.Status)
		}
		if c := w.wait(t, "c2"); c.Status != cellhold.StatusCancelled {
			t.Errorf("queued cell: %s, want cancelled", c.Status)
		}
		w.stop()
	})
}

func TestANewServerContinuesInTheMiddleOfACell(t *testing.T) {
	j, a := newMemory(), newAgent(silent)
	w := open(t, j, a)
	c1, c2 := w.submit(t, "c1"), w.submit(t, "c2")
	<-a.took
	a.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "before "})
	waitFor(t, w.log, cellhold.EventStream)
	w.stop() // the server dies

	a.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "after"})
	a.done("c1", cellhold.StatusOK)
	a.run = echo
	w = open(t, j, a, c1, c2)
	if c := w.wait(t, "c1"); c.Status != cellhold.StatusOK || c.Outputs[0].Text != "before after" {
		t.Errorf("the cell that ran: %s %+v", c.Status, c.Outputs)
	}
	if c := w.wait(t, "c2"); c.Status != cellhold.StatusOK {
		t.Errorf("the queued cell: %s", c.Status)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen["c2"] != 1 {
		t.Errorf("the queued cell was sent %d times", a.seen["c2"])
	}
}

// waitFor returns when an event of the type is in the log.
func waitFor(t *testing.T, l *kernel.Log, want cellhold.EventType) {
	t.Helper()
	for ev, err := range l.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == want {
			return
		}
	}
}

// refusing is the agent of a dead kernel: it accepts no cell that it does not know.
type refusing struct{ *agent }

func (refusing) Execute(context.Context, guestapi.Execute) error {
	return cellhold.Errorf(cellhold.Conflict, "The kernel is dead.")
}

func TestACellThatAnEarlierServerLeftForADeadKernelIsCancelled(t *testing.T) {
	j, a := newMemory(), newAgent(silent)
	a.say("", cellhold.EventKernelState, cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: cellhold.StatusExit})
	log, err := kernel.NewLog(t.Context(), "s", j)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.New(t.Context(), kernel.Options{ID: "toy", Session: "s", Boot: "b", Link: refusing{a}, Log: log, Journal: j,
		Logger: slog.New(slog.DiscardHandler), Pending: []record.Cell{{Cell: cellhold.Cell{ID: "c1", Session: "s"}, Timeout: time.Minute}},
		OOMKills: func(context.Context) (int64, error) { return 0, nil },
		Mirror:   func(context.Context) error { return nil }, Stuck: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { k.Run(ctx) })
	if c, ok, err := k.Wait(ctx, "c1"); err != nil || ok && c.Status != cellhold.StatusCancelled {
		t.Errorf("status %s, %v; want cancelled", c.Status, err)
	}
	cancel()
}

func TestACellOfAnEarlierServerGetsANewDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, a := newMemory(), newAgent(silent)
		w := open(t, j, a)
		c := w.submit(t, "c1")
		<-a.took
		a.say("c1", cellhold.EventCellStarted, cellhold.CellStartedContent{})
		waitFor(t, w.log, cellhold.EventCellStarted)
		w.stop()
		<-time.After(time.Hour) // of the fake clock: no server runs
		a.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "late"})
		w = open(t, j, a, c)
		waitFor(t, w.log, cellhold.EventStream)
		select {
		case <-w.stuck:
			t.Error("the sandbox was reported as stuck at once")
		case <-time.After(time.Second):
		}
		w.stop()
	})
}

func TestOutputBeyondTheBoundIsDroppedAndReported(t *testing.T) {
	w := open(t, newMemory(), newAgent(silent))
	w.submit(t, "c1")
	<-w.agent.took
	text := strings.Repeat("x", cellOutput/32)
	for range 40 { // a quarter more than the limit of a cell
		w.agent.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: text})
	}
	w.agent.done("c1", cellhold.StatusOK)
	w.wait(t, "c1")
	kept, dropped := 0, int64(0)
	for ev := range w.journal.Read(t.Context(), "s", 0) {
		kept += len(ev.Content)
		if ev.Type == cellhold.EventOutputDropped {
			var c cellhold.OutputDroppedContent
			if err := ev.Decode(&c); err != nil {
				t.Fatal(err)
			}
			dropped = c.Bytes
		}
	}
	if kept > cellOutput+1000 || kept < cellOutput/2 || dropped < cellOutput/4 {
		t.Errorf("kept %d bytes and reported %d dropped", kept, dropped)
	}
}

func TestAnEndlessNumberOfQuestionsDoesNotFillTheJournal(t *testing.T) {
	w := open(t, newMemory(), newAgent(silent))
	w.submit(t, "c1")
	<-w.agent.took
	const most = cellOutput + 1<<20 // questions can use the reserve
	prompt := strings.Repeat("?", guestapi.MaxPrompt)
	for range 2 * most / len(prompt) {
		w.agent.say("c1", cellhold.EventInputRequest, cellhold.InputRequestContent{Prompt: prompt})
	}
	w.agent.done("c1", cellhold.StatusOK)
	w.wait(t, "c1")
	kept := 0
	for ev := range w.journal.Read(t.Context(), "s", 0) {
		kept += len(ev.Content)
	}
	if kept > most+1000 || kept < most/2 {
		t.Errorf("kept %d bytes of questions; the limit is %d", kept, most)
	}
}

func TestOutputOfOtherKernelsTakesSpace(t *testing.T) {
	w := open(t, newMemory(), newAgent(silent))
	other := record.NewEvent(cellhold.EventStream, "other", "c9", cellhold.StreamContent{Name: "stdout", Text: strings.Repeat("x", sessionOutput)})
	if err := w.log.Append(t.Context(), []record.Event{other}); err != nil {
		t.Fatal(err)
	}
	w.submit(t, "c1")
	<-w.agent.took
	w.agent.say("c1", cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: "too much"})
	w.agent.done("c1", cellhold.StatusOK)
	if c := w.wait(t, "c1"); c.Status != cellhold.StatusOK || len(c.Outputs) != 1 {
		t.Errorf("the cell is %s with %d outputs; the end of its output is kept in its record", c.Status, len(c.Outputs))
	}
	for ev := range w.journal.Read(t.Context(), "s", other.Seq) {
		if ev.Type == cellhold.EventStream && ev.Cell == "c1" {
			t.Error("output was kept beyond the session's bound")
		}
	}
	log, err := kernel.NewLog(t.Context(), "s", w.journal)
	if err != nil || log.Kept() != w.log.Kept() {
		t.Errorf("a new log of the journal counts %d bytes, the old log %d (%v)", log.Kept(), w.log.Kept(), err)
	}
}

func TestAKernelIsIdleWhenTheLogShowsTheEndOfItsCell(t *testing.T) {
	w, after := open(t, newMemory(), newAgent(echo)), int64(0)
	for range 300 {
		id := cellhold.NewCellID()
		w.submit(t, id)
		for ev, err := range w.log.Watch(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			if after = ev.Seq; ev.Type == cellhold.EventCellDone && ev.Cell == id {
				break
			}
		}
		if !w.kernel.Idle() {
			t.Fatalf("the kernel is busy after the end of cell %s", id)
		}
	}
}
