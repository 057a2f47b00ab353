package envd

import (
	"errors"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/server/envd/filesystempb"
)

func TestAPolledWatchKeepsEventsUpToItsLimitsAndThenItsError(t *testing.T) {
	for name, test := range map[string]struct{ size, most int }{
		"many events": {10, maxPolled}, "long names": {4000, maxPolledNames / 4000},
	} {
		t.Run(name, func(t *testing.T) {
			var w watchers
			x, err := w.add("s1", func() {})
			if err != nil {
				t.Fatal(err)
			}
			kept := 0
			for err == nil {
				if err = w.keep(x, &filesystempb.FilesystemEvent{Name: strings.Repeat("x", test.size)}); err == nil {
					kept++
				}
			}
			w.end(x, err)
			if kept != test.most || !errors.Is(err, errMissed) {
				t.Errorf("kept %d events until %v, want %d until errMissed", kept, err, test.most)
			}
			if events, err := w.poll("s1", x.id); err != nil || len(events) != kept {
				t.Errorf("first poll: got %d events and %v, want %d", len(events), err, kept)
			}
			if _, err := w.poll("s1", x.id); !errors.Is(err, errMissed) {
				t.Errorf("second poll: got %v, want errMissed", err)
			}
			if _, err := w.poll("s1", x.id); cellhold.KindOf(err) != cellhold.NotFound {
				t.Errorf("third poll: got %v, want NotFound", err)
			}
		})
	}
}

func TestAPollMakesRoomForMoreEvents(t *testing.T) {
	var w watchers
	x, err := w.add("s1", func() {})
	if err != nil {
		t.Fatal(err)
	}
	e := &filesystempb.FilesystemEvent{Name: strings.Repeat("x", maxPolledNames)}
	for range 3 {
		if err := w.keep(x, e); err != nil {
			t.Fatal(err)
		}
		if events, err := w.poll("s1", x.id); len(events) != 1 || err != nil {
			t.Fatalf("got %d events and %v, want one", len(events), err)
		}
	}
	if _, err := w.poll("s2", x.id); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a poll for another session: got %v, want NotFound", err)
	}
}
