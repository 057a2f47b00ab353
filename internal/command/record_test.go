package command

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// script is a link, a log and a journal in memory. Its agent sends the events of the test.
type script struct {
	Link
	events chan guestapi.Event
	asked  int
	end    error                    // the error with which the events end at once; may be nil
	show   func(evs []record.Event) // called when the log shows events; may be nil

	mu      sync.Mutex
	kept    []record.Event
	before  int64 // bytes that other writers have kept
	records map[cellhold.CommandID]record.Command
	acked   int64
}

func (s *script) Start(context.Context, cellhold.CommandID, guestapi.StartCommand) (int, error) {
	return 1, nil
}

func (s *script) Ack(_ context.Context, seq int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = seq
	return nil
}

func (s *script) Events(ctx context.Context, _ int64) iter.Seq2[guestapi.Event, error] {
	s.asked++
	return func(yield func(guestapi.Event, error) bool) {
		if s.end != nil {
			yield(guestapi.Event{}, s.end)
			return
		}
		for {
			select {
			case e := <-s.events:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				yield(guestapi.Event{}, ctx.Err())
				return
			}
		}
	}
}

func (s *script) AppendWith(ctx context.Context, evs []record.Event, keep func(context.Context, []record.Event) error) error {
	s.mu.Lock()
	for i := range evs {
		evs[i].Seq = int64(len(s.kept) + i + 1)
	}
	s.mu.Unlock()
	err := keep(ctx, evs)
	if err == nil && s.show != nil {
		s.show(evs)
	}
	return err
}

func (s *script) Kept() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before
}

func (s *script) AppendCommands(_ context.Context, _ cellhold.SessionID, evs []record.Event, commands ...record.Command) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, evs...)
	for _, c := range commands {
		s.records[c.ID] = c
	}
	return nil
}

func (s *script) Commands(context.Context, cellhold.SessionID) iter.Seq2[record.Command, error] {
	return func(func(record.Command, error) bool) {}
}

func (s *script) Read(context.Context, cellhold.SessionID, int64) iter.Seq2[record.Event, error] {
	return func(func(record.Event, error) bool) {}
}

func (s *script) Cursor(context.Context, cellhold.SessionID, cellhold.KernelID, string) (int64, error) {
	return 0, nil
}

func TestOutputAboveTheLimitIsCountedAndReportedOnce(t *testing.T) {
	s := &script{events: make(chan guestapi.Event), records: map[cellhold.CommandID]record.Command{}}
	r, err := New(t.Context(), Options{Session: "s1", Boot: "b1", Link: s, Log: s, Journal: s, Logger: slog.New(slog.DiscardHandler), Output: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	defer run.Wait()
	defer cancel()
	c, err := r.Start(ctx, record.Command{Command: cellhold.Command{ID: "x1", Line: "flood"}, Timeout: time.Minute}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 10_000)
	send := func(seq int64, typ cellhold.EventType, content any) {
		ev := record.NewEvent(typ, "", "", content)
		s.events <- guestapi.Event{Seq: seq, Time: time.Now(), Command: c.ID, Type: typ, Content: ev.Content}
	}
	for i := range int64(20) {
		send(i+1, cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: text})
	}
	send(20, cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: text}) // a repeated event does not count
	for i := range int64(50) {
		send(21+i, cellhold.EventOutputDropped, cellhold.OutputDroppedContent{Bytes: 10, Messages: 1})
	}
	send(71, cellhold.EventCommandDone, cellhold.CommandDoneContent{Status: cellhold.CommandOK})
	send(72, cellhold.EventCommandDone, cellhold.CommandDoneContent{Status: cellhold.CommandOK}) // a second command_done is not recorded
	if c, _, err = r.Wait(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.records["x1"]; got.Status != cellhold.CommandOK || got.Stdout.Bytes != 200_000 || got.Dropped != 140_500 || got.Last == 0 {
		t.Errorf("got status %s, %d bytes of stdout, %d dropped, last event %d; want ok, 200000, 140500 and a last event", got.Status, got.Stdout.Bytes, got.Dropped, got.Last)
	}
	last := s.kept[len(s.kept)-2:]
	var d cellhold.OutputDroppedContent
	if last[0].Decode(&d); d.Bytes != 140_500 || last[1].Type != cellhold.EventCommandDone || len(s.kept) != 1+6+2 {
		t.Errorf("got %d events, %d bytes dropped, a last event %s; want 9, 140500 and command_done", len(s.kept), d.Bytes, last[1].Type)
	}
}

func TestACommandKeepsNoOutputIfTheSessionReachedItsLimit(t *testing.T) {
	s := &script{events: make(chan guestapi.Event), records: map[cellhold.CommandID]record.Command{}, before: 1 << 20}
	r, err := New(t.Context(), Options{Session: "s1", Boot: "b1", Link: s, Log: s, Journal: s, Logger: slog.New(slog.DiscardHandler), SessionOutput: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	defer run.Wait()
	defer cancel()
	c, err := r.Start(ctx, record.Command{Command: cellhold.Command{ID: "x1", Line: "echo"}, Timeout: time.Minute}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range []record.Event{
		record.NewEvent(cellhold.EventStream, "", "", cellhold.StreamContent{Name: "stdout", Text: "too much"}),
		record.NewEvent(cellhold.EventCommandDone, "", "", cellhold.CommandDoneContent{Status: cellhold.CommandOK}),
	} {
		s.events <- guestapi.Event{Seq: int64(i + 1), Time: time.Now(), Command: c.ID, Type: ev.Type, Content: ev.Content}
	}
	// Wait finds nothing if the command ended first, so the test reads the journal.
	if _, _, err = r.Wait(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.records[c.ID]; got.State != cellhold.CommandDone || got.Dropped != 8 {
		t.Errorf("got a command that is %s with %d bytes dropped; want done and 8", got.State, got.Dropped)
	}
}

func TestARunnerDoesNotAskAnAgentAgainThatBrokeTheProtocol(t *testing.T) {
	s := &script{end: cellhold.Wrap(cellhold.Internal, guestapi.ErrForm, "Invalid data.")}
	stuck := ""
	r, err := New(t.Context(), Options{Session: "s1", Boot: "b1", Link: s, Log: s, Journal: s, Logger: slog.New(slog.DiscardHandler),
		Stuck: func(why string) { stuck = why }})
	if err != nil {
		t.Fatal(err)
	}
	r.Run(t.Context())
	if s.asked != 1 || stuck != "the agent broke the protocol" {
		t.Errorf("asked %d times, reported %q", s.asked, stuck)
	}
}

// TestACommandIsDoneWhenTheLogShowsItsEnd: otherwise a reader that begins after this event waits for an event that is past.
func TestACommandIsDoneWhenTheLogShowsItsEnd(t *testing.T) {
	s := &script{events: make(chan guestapi.Event), records: map[cellhold.CommandID]record.Command{}}
	r, err := New(t.Context(), Options{Session: "s1", Boot: "b1", Link: s, Log: s, Journal: s, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	s.show = func(evs []record.Event) {
		for _, ev := range evs {
			if ev.Type != cellhold.EventCommandDone {
				continue
			}
			ends++
			if c, ok := r.Get(ev.Command); ok {
				t.Errorf("the log shows the end of command %s, which is %s", ev.Command, c.State)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	for _, id := range []cellhold.CommandID{"x1", "x2"} {
		if _, err := r.Start(ctx, record.Command{Command: cellhold.Command{ID: id, Line: "wait"}, Timeout: time.Minute}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ev := record.NewEvent(cellhold.EventCommandDone, "", "", cellhold.CommandDoneContent{Status: cellhold.CommandOK})
	s.events <- guestapi.Event{Seq: 1, Time: time.Now(), Command: "x1", Type: ev.Type, Content: ev.Content}
	if _, _, err := r.Wait(ctx, "x1"); err != nil {
		t.Fatal(err)
	}
	cancel()
	run.Wait()
	if err := r.Die(t.Context(), cellhold.CommandLost, "The session has ended."); err != nil || ends != 2 {
		t.Errorf("got %d ends and %v, want 2", ends, err)
	}
}
