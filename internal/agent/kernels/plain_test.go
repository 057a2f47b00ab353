package kernels

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"

	"github.com/google/go-cmp/cmp"
)

// entries returns n entries of a bundle.
func entries(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"a/%d":[1,2,{"b":3}]`, i)
	}
	return strings.Join(list, ",")
}

var (
	plainDisplays = []string{
		`{"data": {"text/plain": "2"}, "metadata": {}, "execution_count": 5}`,
		`{"execution_count":999999999,"metadata":{"a":{"b":[1,2]}},"data":{"text/html":"<a href=\\\"x\\\">\\\\","image/png":"aGk="}, "transient":{}}`,
		`{"data":{"` + strings.Repeat("x", guestapi.MaxName) + `":"` + strings.Repeat("y", 300) + `"},"metadata":{"a":"` + strings.Repeat(":", 300) + `"}}`,
		`{"data":{` + entries(32) + `},"metadata":{` + entries(32) + `}}`,
	}
	otherDisplays = []string{
		`{}`, `{"data":{}}`, `{"metadata":{}}`, `{"data":null,"metadata":{}}`, `{"data":[],"metadata":{}}`, `{"data":"x","metadata":{}}`,
		`{"data":{},"metadata":{},"more":[` + strings.Repeat("1,", 30_000) + `1]}`,
		`{"data":{},"metadata":{},"DATA":{"a/b":1}}`, `{"data":{},"metadata":{},"data":{"a/b":1}}`, `{"d\u0061ta":{},"metadata":{}}`,
		`{"data":{},"metadata":{},"transient":{"display_id":"x"}}`, `{"data":{},"metadata":{},"transient":1}`, `{"data":{},"metadata":{},"transient":null}`,
		`{"data":{},"metadata":{},"execution_count":null}`, `{"data":{},"metadata":{},"execution_count":1.5}`, `{"data":{},"metadata":{},"execution_count":-1}`,
		`{"data":{},"metadata":{},"execution_count":1e3}`, `{"data":{},"metadata":{},"execution_count":1234567890}`, `{"data":{},"metadata":{},"execution_count":{}}`,
		"{\"data\":{},\n\"metadata\":{}}",
		`{"data":{` + entries(66) + `},"metadata":{}}`,
		`{"data":{"a/` + strings.Repeat("x", guestapi.MaxName) + `" :1},"metadata":{}}`, `{"data":{},"metadata":{"` + strings.Repeat("x", guestapi.MaxName+1) + `":{}}}`,
		`{"data":{"a/b":"` + strings.Repeat("x", guestapi.MaxContent) + `"},"metadata":{}}`,
	}
)

func TestADisplayWithTheUsualFieldsIsPassedOnAsItIs(t *testing.T) {
	for _, raw := range plainDisplays {
		if !isPlain(cellhold.EventExecuteResult, []byte(raw)) {
			t.Errorf("%.200s is not plain", raw)
		}
	}
	for _, raw := range otherDisplays {
		if isPlain(cellhold.EventExecuteResult, []byte(raw)) {
			t.Errorf("%.200s is plain", raw)
		}
	}
	if isPlain(cellhold.EventDisplayData, []byte(plainDisplays[0])) {
		t.Error("display_data with a count is plain")
	}
}

// FuzzPlainDisplay checks that the host gets the same display from both ways.
func FuzzPlainDisplay(f *testing.F) {
	for _, s := range append(plainDisplays, otherDisplays[:20]...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if raw = bytes.TrimSpace(raw); !json.Valid(raw) || !utf8.Valid(raw) || raw[0] != '{' {
			return
		}
		for _, typ := range []cellhold.EventType{cellhold.EventDisplayData, cellhold.EventExecuteResult} {
			if !isPlain(typ, raw) {
				continue
			}
			encoded, err := encodeDisplay(typ, raw, 0)
			var got, want cellhold.DisplayContent
			if err != nil || json.Unmarshal(raw, &got) != nil || json.Unmarshal(encoded, &want) != nil {
				t.Fatalf("%s is plain: %v", raw, err)
			}
			if got.Transient = nil; len(got.Data) > 64 || len(got.Metadata) > 64 {
				t.Fatalf("%d and %d entries are plain", len(got.Data), len(got.Metadata))
			}
			same := cmp.Comparer(func(a, b json.RawMessage) bool {
				var x, y any
				return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && cmp.Equal(x, y)
			})
			if d := cmp.Diff(want, got, same); d != "" {
				t.Fatalf("%s: %s", raw, d)
			}
		}
	})
}

// BenchmarkOutput turns results into events.
func BenchmarkOutput(b *testing.B) {
	for name, size := range map[string]int{"small": 1, "large": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			content := []byte(`{"data": {"text/plain": "2", "image/png": "` + strings.Repeat("A", size) + `"}, "metadata": {}, "execution_count": 5}`)
			s := spool.New(guestapi.SpoolBytes, spool.Cell)
			for b.Loop() {
				if err := output(s, "c1", jupyter.Message{Header: jupyter.Header{MsgType: "execute_result"}, Content: content}, spool.Patience{}); err != nil {
					b.Fatal(err)
				}
				s.Ack(s.Last())
			}
		})
	}
}
