package notebook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/outputs"
)

// TestTheJSONOfOutputsIsAtMost32MiB folds output whose JSON is larger than its text.
func TestTheJSONOfOutputsIsAtMost32MiB(t *testing.T) {
	page := cellhold.Event{Type: cellhold.EventDisplayData, Content: raw(`{"data":{"text/html":"` + strings.Repeat("<b>", 5<<20) + `"},"metadata":{}}`)}
	shown := cellhold.Event{Type: cellhold.EventDisplayData, Content: raw(`{"data":{"text/html":"` + strings.Repeat("<b>", 4<<20) + `"},"metadata":{},"transient":{"display_id":"i"}}`)}
	controls := strings.Repeat("\x01", 120<<10)
	keys := map[string]json.RawMessage{}
	for i := range maxTypes {
		keys[fmt.Sprint(strings.Repeat("\x02", maxType-2), i)] = json.RawMessage("1")
	}
	metadata := ev(cellhold.EventDisplayData, cellhold.DisplayContent{Data: map[string]json.RawMessage{"text/plain": quoted("x")}, Metadata: keys})
	failure := ev(cellhold.EventError, cellhold.ErrorContent{Name: "E", Value: controls[:60<<10], Traceback: []string{controls, controls}})
	for name, test := range map[string]struct {
		times int
		evs   []cellhold.Event
	}{
		"pages":                        {3, []cellhold.Event{page}},
		"errors":                       {30, []cellhold.Event{failure}},
		"keys of metadata":             {400, []cellhold.Event{metadata}},
		"pages and control characters": {6, []cellhold.Event{page, out(controls), out(controls), errOut(controls)}},
		"displays that are shown again and control characters": {6, []cellhold.Event{shown, out(controls), errOut(controls), failure}},
	} {
		t.Run(name, func(t *testing.T) {
			f := New(Bounds{})
			for range test.times {
				for _, e := range test.evs {
					if err := f.Add(e); err != nil {
						t.Fatal(err)
					}
				}
			}
			var b bytes.Buffer
			list := f.Outputs()
			if err := outputs.WriteList(&b, list); err != nil {
				t.Fatal(err)
			}
			if b.Len() > 32<<20 || b.Len() < 10<<20 || !json.Valid(b.Bytes()) {
				t.Errorf("got %d bytes of JSON for %d outputs, want valid JSON with 10 to 32 MiB", b.Len(), len(list))
			}
		})
	}
}
