package remote

import (
	"cellhold/internal/cli/console"
	"encoding/json"
	"strings"
	"testing"
)

func TestANoteIsShownWhateverTheCodeLeftUnfinished(t *testing.T) {
	var shown strings.Builder
	screen := func() *console.Screen { return &console.Screen{W: &shown} }
	p := &cellPrinter{out: screen(), err: screen(), trace: screen()}
	if _, err := p.stream("stdout").WriteString("\x1b[31mred\n\x1b]0;"); err != nil {
		t.Fatal(err)
	}
	if err := p.display(map[string]json.RawMessage{"text/plain": json.RawMessage(`"1\u001b]"`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.trace.WriteString("trace\n\x1bP"); err != nil {
		t.Fatal(err)
	}
	if err := p.note("the cause\r\x1b[31mis"); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[31mred\n\x1b[0m1\ntrace\ncellhold: the cause is\n"; shown.String() != want {
		t.Errorf("got %q, want %q", shown.String(), want)
	}
}
