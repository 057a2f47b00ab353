package outputs

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cellhold"
)

// odd has characters that JSON escapes, and some that only look dangerous.
const odd = "<b>&\"\\\n\r\t\x01\u2028é\xff\"outputs\":[]}\"data\":{},\"metadata\":{}"

func raw(v any) json.RawMessage {
	b, _ := json.Marshal(v)
	return b
}

var list = []cellhold.Output{
	{Type: cellhold.EventStream, Name: "stdout", Text: odd, Truncated: true, Bytes: 5, Omitted: 2},
	{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"text/html": raw(odd), "b/b": raw([]int{1}), "a" + odd: nil}, DisplayID: odd},
	{Type: cellhold.EventExecuteResult, ExecutionCount: 3, Data: map[string]json.RawMessage{}, Metadata: map[string]json.RawMessage{"m": raw(map[string]any{"x": odd})}},
	{Type: cellhold.EventError, ErrorName: "E", ErrorValue: new(string), Traceback: []string{odd}},
}

// same compares JSON with what encoding/json writes.
func same(t *testing.T, got []byte, want any) {
	t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("the JSON differs from encoding/json (-got +want):\n%s", diff)
	}
}

func TestACellIsWrittenAsByThePackageJSON(t *testing.T) {
	for _, outputs := range [][]cellhold.Output{{}, list[:1], list} {
		c := cellhold.Cell{ID: "c1", Code: odd, Metadata: map[string]json.RawMessage{"outputs": raw([]int{})}, Outputs: outputs}
		var b bytes.Buffer
		if err := WriteCell(&b, Cell{Cell: c}, c.Outputs); err != nil {
			t.Fatal(err)
		}
		same(t, b.Bytes(), c)
		if bytes.Contains(b.Bytes(), []byte(`\u003c`)) && len(outputs) < 2 { // the values of displays are not changed
			t.Errorf("got escapes of HTML in %s", b.Bytes())
		}
	}
	if err := WriteCell(&bytes.Buffer{}, struct{}{}, nil); err == nil {
		t.Error("a struct without a Slot: got no error")
	}
}

func TestAnEventIsWrittenOnOneLine(t *testing.T) {
	for _, content := range []string{`{"text":"<b>"}`, "{\n\"a\":\r\n[1,\n2]}", "null"} {
		e := cellhold.Event{Seq: 7, Time: time.Unix(1, 0).UTC(), Cell: "c1", Type: cellhold.EventStream, Content: json.RawMessage(content)}
		var b bytes.Buffer
		if err := WriteEvent(&b, e); err != nil {
			t.Fatal(err)
		}
		same(t, b.Bytes(), e)
		if bytes.ContainsAny(b.Bytes(), "\r\n") {
			t.Errorf("got several lines: %q", b.Bytes())
		}
	}
}

func TestTheSizeOfATextIsThatOfItsJSON(t *testing.T) {
	for _, text := range []string{"", "plain", odd, strings.Repeat("\x00é\u2029", 100), "\xf0\x9f\x98", "😀"} {
		b, err := encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := TextSize(text); got != len(b)-2 || TextSize([]byte(text)) != got {
			t.Errorf("TextSize(%q) = %d, want %d", text, got, len(b)-2)
		}
	}
	if got := Size(list); got < int64(TextSize(odd)*4) {
		t.Errorf("got the size %d of all outputs", got)
	}
}
