package notebook

import (
	"cellhold"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTextIsStreamsResultsAndDisplays(t *testing.T) {
	outputs := []cellhold.Output{
		{Type: cellhold.EventStream, Name: "stdout", Text: "x = 42\n"},
		{Type: cellhold.EventStream, Name: "stderr", Text: "warning"},
		{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"text/plain": raw(`["<Figure ","é>"]`), "image/png": raw(`"AA=="`)}},
		{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"text/html": raw(`"no text"`), "text/plain": raw(`{"no":"text"}`)}},
		{Type: cellhold.EventExecuteResult, Data: map[string]json.RawMessage{"text/plain": raw(`"43"`)}},
		{Type: cellhold.EventError, ErrorName: "E"},
	}
	if got, want := Text(outputs), "x = 42\n\nwarning\n<Figure é>\n43"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Text(nil); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}

func TestPlotsAreTheImagesInOrder(t *testing.T) {
	png := func(value string) cellhold.Output {
		return cellhold.Output{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"image/png": raw(value)}}
	}
	got := Plots([]cellhold.Output{png(`"AAAA\nBB==\n"`), png(`{}`), {Type: cellhold.EventStream, Text: "x"}, png(`["CC","CC"]`)})
	want := []Plot{{1, "output_1.png", "AAAABB=="}, {2, "output_2.png", "CCCC"}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("plots differ (-got +want):\n%s", diff)
	}
	if raw, _ := json.Marshal(Plots(nil)); string(raw) != "[]" {
		t.Errorf("got %s of nothing, want []", raw)
	}
}
