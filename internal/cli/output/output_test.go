package output

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/picture"
)

// event returns an event with a content.
func event(t *testing.T, kind cellhold.EventType, content any) cellhold.Event {
	t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return cellhold.Event{Type: kind, Content: text}
}

func TestACellDrawsALimitedNumberOfFigures(t *testing.T) {
	var data, screen bytes.Buffer
	if err := png.Encode(&data, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	figure := event(t, cellhold.EventDisplayData, map[string]any{"data": map[string]string{"image/png": base64.StdEncoding.EncodeToString(data.Bytes())}})
	out := &console.Screen{W: &screen}
	p := Printer{Out: out, Err: out, Pictures: &picture.Screen{W: &screen, Protocol: picture.Kitty}}
	for _, cell := range []string{"first", "second"} {
		screen.Reset()
		for range maxDrawn + 2 {
			if err := p.Event(t.Context(), figure); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Done(cellhold.CellDoneContent{Status: cellhold.StatusOK}); err != nil {
			t.Fatal(err)
		}
		drawn, refused := strings.Count(screen.String(), "\x1b_G"), strings.Count(screen.String(), "not shown: the cell has drawn")
		if got, want := fmt.Sprint(drawn, refused), fmt.Sprint(maxDrawn, 2); got != want {
			t.Errorf("%s cell: drew and refused %s figures, want %s", cell, got, want)
		}
	}
}

func TestTheShownCodeIsTheCodeThatRan(t *testing.T) {
	var screen bytes.Buffer
	p := Printer{Out: &console.Screen{W: &screen}, Err: &console.Screen{W: &screen}}
	if err := p.Heading("In [1]", "steal()\rprint(1)\r\nx = 'a\b\b'\x1b[1A\n"); err != nil {
		t.Fatal(err)
	}
	if want := "In [1]\n  steal()\n  print(1)\n  x = 'a\ufffd\ufffd'\n"; screen.String() != want {
		t.Errorf("got %q, want %q", screen.String(), want)
	}
}

func TestAnUnfinishedSequenceHidesNoOtherText(t *testing.T) {
	var screen bytes.Buffer
	p := Printer{Out: &console.Screen{W: &screen}, Err: &console.Screen{W: &screen}}
	for _, e := range []cellhold.Event{
		event(t, cellhold.EventStream, map[string]any{"name": "stdout", "text": "\x1b[31mred\x1b]0;"}),
		event(t, cellhold.EventStream, map[string]any{"name": "stderr", "text": "err\x1b]0;"}),
		event(t, cellhold.EventExecuteResult, map[string]any{"execution_count": 1, "data": map[string]string{"text/plain": "1\x1bP"}}),
		event(t, cellhold.EventError, map[string]any{"traceback": []string{"trace\x1b]"}}),
	} {
		if err := p.Event(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Done(cellhold.CellDoneContent{Status: cellhold.StatusOOM, Cause: "The memory is full."}); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[31mrederr\x1b[0m\nOut[1]: 1\ntrace\ncellhold: The memory is full.\n"; screen.String() != want {
		t.Errorf("got %q, want %q", screen.String(), want)
	}
}
