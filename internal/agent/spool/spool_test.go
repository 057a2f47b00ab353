package spool

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

func TestTextIsCutBetweenCharacters(t *testing.T) {
	s := New(guestapi.SpoolBytes, Cell)
	text := strings.Repeat("€", guestapi.MaxStream)
	s.Stream("c", "stdout", text, Patience{})
	got := ""
	for after := int64(0); after < s.Last(); {
		b := s.Read(after, nil)
		for line := range strings.Lines(string(b.Lines)) {
			var e struct{ Content cellhold.StreamContent }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if len(e.Content.Text) > guestapi.MaxStream {
				t.Errorf("a piece of %d bytes", len(e.Content.Text))
			}
			got += e.Content.Text
		}
		after = b.Last
	}
	if got != text {
		t.Errorf("%d bytes came back, want %d", len(got), len(text))
	}
}

func TestAnAcknowledgedSpoolFreesItsMemory(t *testing.T) {
	s := New(1<<20, Cell)
	for range 3 {
		for range 100 {
			s.Stream("c", "stdout", strings.Repeat("x", 1000), Patience{})
			s.Keep("c", cellhold.EventClearOutput, cellhold.ClearOutputContent{})
			s.Read(s.Last()-1, nil)
		}
		s.Ack(s.Last())
	}
	if s.size != 0 || len(s.entries) != 0 {
		t.Errorf("%d bytes in %d entries are left after Ack", s.size, len(s.entries))
	}
}

func TestBytesThatAreNotTextSurvive(t *testing.T) {
	s := New(guestapi.SpoolBytes, Command)
	all := strings.Repeat("\x80", guestapi.MaxStream+7) + "\xff\x00é"
	s.Stream("x1", "stdout", all, Patience{})
	s.Stream("x1", "stderr", "text €", Patience{})
	var got, text string
	for line := range strings.Lines(string(s.Read(0, nil).Lines) + string(s.Read(1, nil).Lines)) {
		var e guestapi.Event
		var c cellhold.StreamContent
		if json.Unmarshal([]byte(line), &e) != nil || json.Unmarshal(e.Content, &c) != nil {
			t.Fatalf("%.200q", line)
		}
		if got += string(c.Data); c.Name == "stderr" {
			text = c.Text
		}
	}
	if got != all || text != "text €" {
		t.Errorf("%d bytes and %q came back", len(got), text)
	}
}

func TestAFullSpoolReportsFreeSpace(t *testing.T) {
	s := New(64<<10, Command)
	space := func() <-chan struct{} { wait, _, _ := s.spaceFor(1); return wait }
	if space() != nil {
		t.Fatal("an empty spool has no space")
	}
	for space() == nil {
		s.Stream("x1", "stdout", strings.Repeat("x", 1<<10), Patience{})
	}
	wait := space()
	select {
	case <-wait:
		t.Fatal("a full spool has space")
	default:
	}
	s.Ack(s.Last())
	<-wait
	if space() != nil {
		t.Error("no space after the acknowledgement")
	}
}

func TestOutputWaitsForSpaceAtEveryFillLevel(t *testing.T) {
	const limit = 64 << 10
	for free := range 300 { // each number of free bytes
		s := New(limit, Cell)
		s.Stream("c1", "stdout", strings.Repeat("x", limit-entryCost-free-1), Patience{})
		go s.Ack(1)
		s.Offer("c1", cellhold.EventDisplayData, []byte(`{"data":{"text/plain":"small"}}`), Patience{For: time.Minute})
		if s.Settle("c1"); strings.Contains(string(s.Read(1, nil).Lines), "dropped") {
			t.Fatalf("with %d bytes free, the output was dropped", free)
		}
	}
}

func TestQuestionsLeaveSpaceForAnException(t *testing.T) {
	s := New(64<<10, Cell)
	question, exception := []byte(`{"prompt":"`+strings.Repeat("x", guestapi.MaxPrompt)+`"}`), []byte(`{"ename":"`+strings.Repeat("x", 100_000)+`"}`)
	asked := 0
	for s.Try("c1", cellhold.EventInputRequest, question) > 0 {
		asked++
	}
	if asked == 0 || s.Try("c1", cellhold.EventError, exception) == 0 {
		t.Errorf("after %d questions, the exception was dropped", asked)
	}
	if s.Try("c1", cellhold.EventDisplayData, []byte("{}")) != 0 {
		t.Error("a full spool took a display")
	}
}
