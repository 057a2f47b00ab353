package kernel_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
)

func newLog(t *testing.T) *kernel.Log {
	t.Helper()
	l, err := kernel.NewLog(t.Context(), "s", newMemory())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func appendText(t *testing.T, l *kernel.Log, texts ...string) {
	t.Helper()
	for _, s := range texts {
		ev := record.NewEvent(cellhold.EventStream, "k", "c", cellhold.StreamContent{Name: "stdout", Text: s})
		if err := l.Append(t.Context(), []record.Event{ev}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReaderThatReconnectsGetsEveryEventOnce(t *testing.T) {
	l := newLog(t)
	const n = 5000 // more than the tail keeps, so that the journal is read too
	for range n {
		appendText(t, l, "x")
	}
	l.Close(nil)
	after, reads := int64(0), 0
	for after < n {
		reads++
		for ev, err := range l.Watch(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Seq != after+1 {
				t.Fatalf("event %d after %d", ev.Seq, after)
			}
			after = ev.Seq
			if after%53 == 0 {
				break // the reader disconnects
			}
		}
	}
	if reads < 90 {
		t.Errorf("only %d reads", reads)
	}
}

func TestAWatcherSeesEventsAndThenTheReasonOfTheEnd(t *testing.T) {
	l := newLog(t)
	reason := errors.New("shutting down")
	got := make(chan error, 1)
	seen := make(chan int64, 2)
	go func() {
		for ev, err := range l.Watch(t.Context(), 0) {
			if err != nil {
				got <- err
				return
			}
			seen <- ev.Seq
		}
		got <- nil
	}()
	appendText(t, l, "a", "b")
	if a, b := <-seen, <-seen; a != 1 || b != 2 {
		t.Errorf("saw %d, %d", a, b)
	}
	l.Close(reason)
	if err := <-got; !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
}

// damagedJournal reports each event that is in damaged.
type damagedJournal struct {
	*memory
	damaged map[int64]bool
}

func (d damagedJournal) Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		for ev, err := range d.memory.Read(ctx, id, after) {
			if d.damaged[ev.Seq] {
				ev, err = record.Event{Event: cellhold.Event{Seq: ev.Seq}}, errors.New("record is damaged")
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

func TestADamagedEventKeepsItsNumber(t *testing.T) {
	j := damagedJournal{newMemory(), map[int64]bool{2: true, 4: true}}
	before, err := kernel.NewLog(t.Context(), "s", j)
	if err != nil {
		t.Fatal(err)
	}
	appendText(t, before, "a", "b", "c", "d")
	after, err := kernel.NewLog(t.Context(), "s", j)
	if err != nil {
		t.Fatal(err)
	}
	want := int64(1)
	for ev, err := range after.Watch(t.Context(), 0) {
		if err != nil || ev.Seq != want || (ev.Type == cellhold.EventRecordDamaged) != j.damaged[want] {
			t.Fatalf("got event %d of type %s, %v; want %d", ev.Seq, ev.Type, err, want)
		}
		if want++; want > 4 { // the last event is damaged, and a reader of a page still sees its end
			break
		}
	}
}
