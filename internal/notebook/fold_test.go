package notebook

import (
	"cellhold"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func ev(t cellhold.EventType, content any) cellhold.Event {
	return cellhold.NewEvent(t, "python3", "c1", content)
}

func out(text string) cellhold.Event {
	return ev(cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: text})
}

func errOut(text string) cellhold.Event {
	return ev(cellhold.EventStream, cellhold.StreamContent{Name: "stderr", Text: text})
}

func display(t cellhold.EventType, id, text string) cellhold.Event {
	c := cellhold.DisplayContent{Data: map[string]json.RawMessage{"text/plain": quoted(text)}}
	if id != "" {
		c.Transient = &cellhold.Transient{DisplayID: id}
	}
	return ev(t, c)
}

func clearOutput(wait bool) cellhold.Event {
	return ev(cellhold.EventClearOutput, cellhold.ClearOutputContent{Wait: wait})
}

func fold(t testing.TB, b Bounds, evs ...cellhold.Event) *Folder {
	t.Helper()
	f := New(b)
	for _, e := range evs {
		if err := f.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// brief returns outputs as short lines: the type and the text.
func brief(outputs []cellhold.Output) (lines []string) {
	for _, o := range outputs {
		text := o.Text
		if o.Data != nil {
			text, _ = textOf(o.Data["text/plain"])
		}
		if o.Type == cellhold.EventError {
			text = o.Exception()
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s%s %q", o.Type, strings.TrimPrefix(o.Name, "std"), text)))
	}
	return lines
}

func TestOutputsAreFolded(t *testing.T) {
	const shown, updated = cellhold.EventDisplayData, cellhold.EventUpdateDisplayData
	for name, c := range map[string]struct {
		evs  []cellhold.Event
		want []string
	}{
		"streams of one name join":           {[]cellhold.Event{out("a"), out("b\n"), errOut("e"), out("c")}, []string{`streamout "ab\n"`, `streamerr "e"`, `streamout "c"`}},
		"a display parts them":               {[]cellhold.Event{out("a"), display(shown, "", "d"), out("b")}, []string{`streamout "a"`, `display_data "d"`, `streamout "b"`}},
		"a progress bar is its last state":   {[]cellhold.Event{out("10%\r"), out("50%\r"), out("100%\n"), out("done")}, []string{`streamout "100%\ndone"`}},
		"a shorter line leaves the rest":     {[]cellhold.Event{out("hello\rAB")}, []string{`streamout "ABllo"`}},
		"letters count, not bytes":           {[]cellhold.Event{out("ééé\raö")}, []string{`streamout "aöé"`}},
		"a line feed keeps the line":         {[]cellhold.Event{out("abc\r\ndef\r\n")}, []string{`streamout "abc\ndef\n"`}},
		"a backspace goes back":              {[]cellhold.Event{out("abé\b"), out("c\b\b\b\b\b\bX")}, []string{`streamout "Xbc"`}},
		"a backspace stays in its line":      {[]cellhold.Event{out("a\n\b\bb")}, []string{`streamout "a\nb"`}},
		"a jump at the end changes nothing":  {[]cellhold.Event{out("50%\r")}, []string{`streamout "50%"`}},
		"a jump does not cross an output":    {[]cellhold.Event{out("abc"), errOut("x"), out("\rY")}, []string{`streamout "abc"`, `streamerr "x"`, `streamout "Y"`}},
		"clear removes all":                  {[]cellhold.Event{out("a"), display(shown, "", "d"), clearOutput(false), out("b")}, []string{`streamout "b"`}},
		"clear at the end leaves nothing":    {[]cellhold.Event{out("a"), clearOutput(false)}, nil},
		"clear with wait waits":              {[]cellhold.Event{out("a"), clearOutput(true)}, []string{`streamout "a"`}},
		"clear with wait, then output":       {[]cellhold.Event{out("a"), clearOutput(true), out("b"), out("c")}, []string{`streamout "bc"`}},
		"clear with wait ignores updates":    {[]cellhold.Event{display(shown, "i", "1"), clearOutput(true), display(updated, "i", "2")}, []string{`display_data "2"`}},
		"an update changes all of its id":    {[]cellhold.Event{display(shown, "i", "1"), display(shown, "j", "2"), display(cellhold.EventExecuteResult, "i", "3"), display(updated, "i", "4")}, []string{`display_data "4"`, `display_data "2"`, `execute_result "4"`}},
		"a display shown again updates":      {[]cellhold.Event{display(shown, "i", "1"), display(shown, "i", "2")}, []string{`display_data "2"`, `display_data "2"`}},
		"an update after clear does nothing": {[]cellhold.Event{display(shown, "i", "1"), clearOutput(false), out("x"), display(updated, "i", "2")}, []string{`streamout "x"`}},
		"an error is an output":              {[]cellhold.Event{ev(cellhold.EventError, cellhold.ErrorContent{Name: "E", Value: "v", Traceback: []string{"t"}})}, []string{`error "E: v"`}},
		"unknown streams are stdout":         {[]cellhold.Event{ev(cellhold.EventStream, cellhold.StreamContent{Name: "x\xff", Text: "a"}), out("b")}, []string{`streamout "ab"`}},
		"other events are ignored":           {[]cellhold.Event{ev("news", 1), ev(cellhold.EventCellDone, cellhold.CellDoneContent{}), out("")}, nil},
		"lost output leaves a line":          {[]cellhold.Event{out("a"), ev(cellhold.EventOutputDropped, cellhold.OutputDroppedContent{Bytes: 12}), out("b")}, []string{`streamout "a"`, `streamerr "… 12 bytes left out …\n"`, `streamout "b"`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(brief(fold(t, Bounds{}, c.evs...).Outputs()), c.want); diff != "" {
				t.Errorf("outputs differ (-got +want):\n%s", diff)
			}
		})
	}
}

func TestAnUpdateReachesEarlierCells(t *testing.T) {
	earlier := fold(t, Bounds{}, out("x"), display(cellhold.EventDisplayData, "i", "old"), display(cellhold.EventDisplayData, "j", "other"))
	later := fold(t, Bounds{}, display(cellhold.EventUpdateDisplayData, "i", "new"), display(cellhold.EventUpdateDisplayData, "i", "newest"))
	outputs := earlier.Outputs()
	if !Replace(outputs, later.Updates()) {
		t.Error("nothing was changed")
	}
	huge := Update{DisplayID: "j", Data: map[string]json.RawMessage{"text/plain": quoted(strings.Repeat("x", 33<<20))}}
	if Replace(outputs, []Update{huge}) {
		t.Error("an update beyond the bounds was accepted")
	}
	if diff := cmp.Diff(brief(outputs), []string{`streamout "x"`, `display_data "newest"`, `display_data "other"`}); diff != "" {
		t.Errorf("outputs differ (-got +want):\n%s", diff)
	}
}

func TestLongTextKeepsItsBeginningAndItsEnd(t *testing.T) {
	f := New(Bounds{Text: 2000})
	total := 0
	for i := range 10_000 {
		text := fmt.Sprintf("line %d é\n", i)
		total += len(text)
		if err := f.Add(out(text)); err != nil {
			t.Fatal(err)
		}
	}
	o := f.Outputs()[0]
	text := o.Text
	if !o.Truncated || o.Bytes != int64(total) || o.Omitted != f.Dropped() || f.Bytes() != int64(total) {
		t.Errorf("got truncated %t, %d bytes, %d omitted of %d", o.Truncated, o.Bytes, o.Omitted, total)
	}
	if !strings.HasPrefix(text, "line 0 é\nline 1 é\n") || !strings.HasSuffix(text, "\nline 9998 é\nline 9999 é\n") {
		t.Errorf("got a text without its beginning or its end:\n%s", text)
	}
	marker := leftOut(f.Dropped())
	if !strings.Contains(text, "\n"+marker+"line ") {
		t.Errorf("got no line %q in:\n%s", marker, text)
	}
	if kept := len(text) - len(marker); kept+int(f.Dropped()) != total || kept > 2000 {
		t.Errorf("got %d bytes kept and %d left out of %d", kept, f.Dropped(), total)
	}
}

func TestTheBoundHoldsOverAllStreamsOfACell(t *testing.T) {
	f := New(Bounds{Text: 1000})
	for i := range 200 {
		for _, e := range []cellhold.Event{out(fmt.Sprintln("out", i, strings.Repeat("x", 50))), errOut(fmt.Sprintln("err", i))} {
			if err := f.Add(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	outputs := f.Outputs()
	all := ""
	for _, o := range outputs {
		all += o.Text
	}
	if !strings.HasPrefix(all, "out 0 ") || !strings.HasSuffix(all, "err 199\n") || strings.Contains(all, "out 100 ") {
		t.Errorf("the beginning or the end is missing:\n%s", all)
	}
}

func TestOneEndlessLineIsBounded(t *testing.T) {
	f := New(Bounds{})
	text := strings.Repeat("é", 64<<10)
	for range 100 {
		if err := f.Add(out(text)); err != nil {
			t.Fatal(err)
		}
	}
	got := f.Outputs()[0].Text
	if len(got) > 1<<20+maxLine+100 || !utf8.ValidString(got) || strings.Contains(got, "\ufffd") {
		t.Errorf("got %d bytes, valid %t", len(got), utf8.ValidString(got))
	}
}

// fewer returns a tenth of a number of rounds under the race detector, which makes each round ten times
// slower.
func fewer(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func TestTheFirstAndTheLastOfTooManyOutputsAreKept(t *testing.T) {
	f := New(Bounds{})
	n := fewer(100_000)
	for i := range n {
		if err := f.Add(display(cellhold.EventDisplayData, "", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Add(ev(cellhold.EventError, cellhold.ErrorContent{Name: "E"})); err != nil {
		t.Fatal(err)
	}
	outputs := f.Outputs()
	lines := brief(outputs)
	want := []string{`display_data "0"`, `display_data "499"`, fmt.Sprintf(`streamerr "… %d outputs with %d bytes left out …\n"`, n-999, f.Dropped()),
		fmt.Sprintf(`display_data "%d"`, n-499), fmt.Sprintf(`display_data "%d"`, n-1), `error "E"`}
	if len(lines) != 1001 {
		t.Fatalf("got %d outputs, want 1001", len(lines))
	}
	if diff := cmp.Diff([]string{lines[0], lines[499], lines[500], lines[501], lines[999], lines[1000]}, want); diff != "" {
		t.Errorf("outputs differ (-got +want):\n%s", diff)
	}
	if o := outputs[500]; !o.Truncated || o.Omitted != f.Dropped() || f.Bytes() <= f.Dropped() {
		t.Errorf("got %+v of %d bytes, %d dropped", o, f.Bytes(), f.Dropped())
	}
}

func TestTheFirstAndTheLastOfManyShortTextsAreKept(t *testing.T) {
	f := New(Bounds{})
	n := fewer(100_000)
	for i := range n {
		for _, e := range []cellhold.Event{out(fmt.Sprintln("out", i)), errOut(fmt.Sprintln("err", i))} {
			if err := f.Add(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines := brief(f.Outputs())
	if len(lines) != 1001 || lines[0] != `streamout "out 0\n"` || lines[1000] != fmt.Sprintf(`streamerr "err %d\n"`, n-1) {
		t.Errorf("got %d outputs, first %s, last %s", len(lines), lines[0], lines[len(lines)-1])
	}
}

func TestTooMuchDataIsLeftOut(t *testing.T) {
	f := New(Bounds{Data: 1000})
	big := strings.Repeat("x", 400)
	for i, e := range []cellhold.Event{display(cellhold.EventDisplayData, "i", big), display(cellhold.EventUpdateDisplayData, "i", strings.Repeat("y", 2000)),
		display(cellhold.EventDisplayData, "", "second"+big), display(cellhold.EventDisplayData, "", "third"+big), display(cellhold.EventDisplayData, "", strings.Repeat("z", 600))} {
		if err := f.Add(e); err != nil {
			t.Fatal(i, err)
		}
	}
	lines := brief(f.Outputs())
	if len(lines) != 3 || !strings.Contains(lines[0], `"xxx`) || !strings.Contains(lines[1], "2 outputs") || !strings.Contains(lines[2], "third") || f.Dropped() < 3000 {
		t.Errorf("got %v with %d bytes dropped", lines, f.Dropped())
	}
}

// The test checks only that it ends: with quadratic cost it would take hours.
func TestTheCostOfUpdatesIsLinear(t *testing.T) {
	n := fewer(200_000)
	for name, e := range map[string]cellhold.Event{
		"carriage returns":     out("\r" + strings.Repeat("█", 50) + " 50%"),
		"updates of a display": display(cellhold.EventUpdateDisplayData, "i", strings.Repeat("x", 100)),
		"clear and print":      clearOutput(true),
		"displays shown again": display(cellhold.EventDisplayData, "i", strings.Repeat("x", 100)),
	} {
		f := New(Bounds{})
		for range 500 { // outputs that an update changes
			if err := f.Add(display(cellhold.EventDisplayData, "i", "x")); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		for range n {
			if err := f.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %s, %d outputs", name, time.Since(begun), len(f.Outputs()))
	}
}

func TestALargeTracebackIsBounded(t *testing.T) {
	for name, lines := range map[string][]string{"long": {strings.Repeat("x", 10<<20)}, "many": make([]string, 1<<20)} {
		f := fold(t, Bounds{}, ev(cellhold.EventError, cellhold.ErrorContent{Name: strings.Repeat("n", 1<<20), Value: strings.Repeat("é", 1<<20), Traceback: lines}))
		o := f.Outputs()[0]
		if size := len(strings.Join(o.Traceback, "")); size > maxTraceback+100 || len(o.Traceback) > maxTraceback/16+2 {
			t.Errorf("%s: got %d bytes in %d entries", name, size, len(o.Traceback))
		}
		if len(o.ErrorName) > maxErrorName+3 || len(*o.ErrorValue) > maxErrorValue+3 || !utf8.ValidString(*o.ErrorValue) {
			t.Errorf("%s: got a name of %d and a value of %d bytes", name, len(o.ErrorName), len(*o.ErrorValue))
		}
	}
}

func TestMemoryStaysBoundedForAllOutput(t *testing.T) {
	f := New(Bounds{Text: 1 << 20, Data: 4 << 20})
	big := strings.Repeat("x", 100<<10)
	evs := []cellhold.Event{out(big), errOut(big + "\n"), display(cellhold.EventDisplayData, "a", big), display(cellhold.EventUpdateDisplayData, "a", big),
		ev(cellhold.EventError, cellhold.ErrorContent{Name: "E", Traceback: []string{big}})}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := fewer(2000) // 100 KiB each
	for i := range n {
		e := evs[i%len(evs)]
		if e.Type == cellhold.EventUpdateDisplayData {
			e = display(e.Type, fmt.Sprint(i), big)
		}
		if err := f.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 16<<20 {
		t.Errorf("got %d MiB in use after %d MiB of events, want less than 16", used>>20, n/10)
	}
	runtime.KeepAlive(f)
}

func TestAnInvalidEventChangesNothing(t *testing.T) {
	f := fold(t, Bounds{}, out("a"))
	for _, typ := range []cellhold.EventType{cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventError, cellhold.EventClearOutput} {
		for _, content := range []string{`[]`, `{`, `"x"`, ``, `{"text":1,"data":2,"ename":3,"wait":4}`} {
			if err := f.Add(cellhold.Event{Type: typ, Content: raw(content)}); err == nil {
				t.Errorf("%s %s: got no error", typ, content)
			}
		}
	}
	if got := brief(f.Outputs()); cmp.Diff(got, []string{`streamout "a"`}) != "" {
		t.Errorf("after invalid events, the outputs are %v", got)
	}
}

// FuzzFold folds events, one in each line: the number of the type, and the content. The fold must not panic, and the
// notebook must be valid.
func FuzzFold(f *testing.F) {
	types := []cellhold.EventType{cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventExecuteResult, cellhold.EventError,
		cellhold.EventUpdateDisplayData, cellhold.EventClearOutput, cellhold.EventOutputDropped, cellhold.EventCellDone}
	for _, seed := range []string{
		`0{"name":"stdout","text":"a\rb\b\bc\nd"}` + "\n" + `0{"name":"stderr","text":"\ud800é\u2028"}`,
		`1{"data":{"text/plain":["a","b"],"model/x+json":{},"application/json":{"b":[1,{"a":null}]}},"metadata":{"x":1},"transient":{"display_id":"i"}}` + "\n" + `4{"data":{"text/plain":"z"},"transient":{"display_id":"i"}}`,
		`2{"execution_count":-1,"data":{"application/x+json":1e999}}` + "\n" + `5{"wait":true}` + "\n" + `3{"ename":"E","evalue":"v","traceback":["a"]}`,
		"6{\"bytes\":-5}\n7{}\n0{\"text\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	s := schema(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		folder := New(Bounds{Text: 64, Data: 256, Outputs: 8})
		for line := range strings.SplitSeq(string(script), "\n") {
			if line != "" {
				_ = folder.Add(cellhold.Event{Type: types[int(line[0])%len(types)], Content: raw(line[1:])})
			}
		}
		outputs := folder.Outputs()
		if len(outputs) > 8+2 {
			t.Fatalf("got %d outputs", len(outputs))
		}
		nb := write(t, Meta{}, cellhold.Cell{ID: "c1", State: cellhold.CellDone, Outputs: outputs})
		if !utf8.Valid(nb) {
			t.Fatal("not UTF-8")
		}
		checkValid(t, s, nb)
		_, _ = Text(outputs), Plots(outputs)
	})
}

func BenchmarkFoldText(b *testing.B) {
	e := out(strings.Repeat("a line of output, as short as most\n", 1000))
	b.SetBytes(35_000)
	f := New(Bounds{})
	for b.Loop() {
		if err := f.Add(e); err != nil {
			b.Fatal(err)
		}
	}
}

// The most expensive output moves the cursor back all the time, and has letters of different length.
func BenchmarkFoldJumps(b *testing.B) {
	e := out(strings.Repeat("x", 4000) + "\r" + strings.Repeat("é\ba\b", 1000))
	b.SetBytes(9000)
	f := New(Bounds{})
	for b.Loop() {
		if err := f.Add(e); err != nil {
			b.Fatal(err)
		}
	}
}

// Clients read evalue without a check, as nbformat allows: `assert False` has none.
func TestAnExceptionWithoutATextHasAnEmptyText(t *testing.T) {
	f := fold(t, Bounds{}, ev(cellhold.EventError, cellhold.ErrorContent{Name: "AssertionError", Traceback: []string{"t"}}))
	text, err := json.Marshal(f.Outputs()[0])
	if err != nil || !strings.Contains(string(text), `"ename":"AssertionError","evalue":"","traceback":["t"]`) {
		t.Errorf("got %s, %v", text, err)
	}
}
