package stream_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/jupyter/stream"
)

// text returns a record of standard output.
func text(request, data string) stream.Record {
	return stream.Record{Kind: stream.StdoutRecord, Request: request, Data: []byte(data)}
}

// queued returns a memory with records of one request, such as "a" and "b".
func queued(texts ...string) *jupytertest.Memory {
	m := jupytertest.NewMemory()
	for _, data := range texts {
		m.Add(stream.StdoutRecord, data, data) // the request differs, so that records are not joined
	}
	return m
}

func TestTheMemoryOfADeadKernelContinuesItsStream(t *testing.T) {
	block := func(change func(*jupytertest.Memory)) *jupytertest.Memory {
		m := queued("sent")
		m.Begin(0, 60)
		m.Done()
		m.Add(stream.StdoutRecord, "a", "a")
		m.Add(stream.StdoutRecord, "b", "b")
		m.Begin(60, 10)
		m.Add(stream.StdoutRecord, "later", "later")
		change(m)
		return m
	}
	sending := block(func(*jupytertest.Memory) {})
	kept := block(func(m *jupytertest.Memory) { m.Keep(64, []byte("456789")) })
	for name, test := range map[string]struct {
		memory *jupytertest.Memory
		read   int64
		want   stream.Unsent
	}{
		"nothing was queued":                   {jupytertest.NewMemory(), 60, stream.Unsent{}},
		"nothing is being sent":                {queued("a", "b"), 60, stream.Unsent{Records: []stream.Record{text("a", "a"), text("b", "b")}}},
		"the block is not sent":                {sending, 60, stream.Unsent{Records: []stream.Record{text("a", "a"), text("b", "b"), text("later", "later")}}},
		"a part is sent":                       {kept, 64, stream.Unsent{Rest: []byte("456789"), Records: []stream.Record{text("later", "later")}}},
		"more is sent than the kernel noted":   {kept, 67, stream.Unsent{Rest: []byte("789"), Records: []stream.Record{text("later", "later")}}},
		"less is sent than the kernel noted":   {kept, 63, stream.Unsent{Lost: 7, Records: []stream.Record{text("later", "later")}}},
		"a part is sent, and no rest is there": {sending, 64, stream.Unsent{Lost: 6, Records: []stream.Record{text("later", "later")}}},
		"the block is sent":                    {kept, 70, stream.Unsent{Records: []stream.Record{text("later", "later")}}},
		"another block's rest is there": {block(func(m *jupytertest.Memory) { m.Keep(40, []byte("old")) }), 64,
			stream.Unsent{Lost: 6, Records: []stream.Record{text("later", "later")}}},
		"the kernel has noted that it is sent": {block((*jupytertest.Memory).Done), 70, stream.Unsent{Records: []stream.Record{text("later", "later")}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := stream.ReadUnsent(test.memory.Bytes(), test.read)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestTextOfOneRequestIsJoined(t *testing.T) {
	m := jupytertest.NewMemory()
	m.Add(stream.StdoutRecord, "a", "one ")
	m.Add(stream.StdoutRecord, "a", "")
	m.Add(stream.StdoutRecord, "a", "two")
	m.Add(stream.StderrRecord, "a", "three")
	m.Add(stream.StdoutRecord, "a", "four")
	m.Add(stream.FrameRecord, "", "frame")
	m.Add(stream.FrameRecord, "", "frame")
	m.Add(stream.StdoutRecord, "b", "five")
	memory := m.Bytes()
	got, err := stream.ReadUnsent(memory, 0)
	want := []stream.Record{
		text("a", "one two"), {Kind: stream.StderrRecord, Request: "a", Data: []byte("three")}, text("a", "four"),
		{Kind: stream.FrameRecord, Data: []byte("frame")}, {Kind: stream.FrameRecord, Data: []byte("frame")}, text("b", "five"),
	}
	if diff := cmp.Diff(want, got.Records); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if !bytes.Equal(memory, m.Bytes()) {
		t.Error("the memory was changed")
	}
}

func TestOutputWithoutSpaceIsCounted(t *testing.T) {
	m := jupytertest.NewMemory()
	m.Add(stream.StdoutRecord, "", strings.Repeat("x", 300<<10))
	m.Add(stream.StdoutRecord, "", strings.Repeat("y", 300<<10))
	m.Add(stream.StdoutRecord, "", "z")
	got, err := stream.ReadUnsent(m.Bytes(), 0)
	if err != nil || len(got.Records) != 1 || len(got.Records[0].Data) != 300<<10+1 || got.Lost < 200<<10 || got.Lost > 300<<10 {
		t.Errorf("%d records, %d bytes lost, %v", len(got.Records), got.Lost, err)
	}
}

// The places of the numbers in the memory.
const (
	end = 8 * iota
	start
	before
	position
	length
	restAt
	rest
	lost
)

func TestAMemoryOfAnotherFormHasNothing(t *testing.T) {
	for name, change := range map[string]map[int]uint64{
		"records after the end of the memory":              {end: 512<<10 + 1},
		"records of 2⁶⁴ bytes":                             {end: math.MaxUint64},
		"a start after the end":                            {start: 100},
		"a block that begins after its end":                {before: 1},
		"half a record at the end":                         {end: 18 + 7},
		"a start in a record":                              {start: 1},
		"a record that is longer than the others together": {end: 17},
		"a block at 2⁶⁴":                                   {position: math.MaxUint64, length: 1},
		"a block of 2⁶⁴ bytes":                             {length: math.MaxUint64},
		"a rest at 2⁶⁴":                                    {length: 10, restAt: math.MaxUint64, rest: 5},
		"a rest of 2⁶⁴ bytes":                              {length: 10, rest: math.MaxUint64},
		"a rest that hits a record":                        {length: 1 << 20, rest: 512 << 10},
		"another mark of lost bytes":                       {lost: 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := queued("a", "b") // two records of 10 bytes: the first 18 are a whole one and a part
			for at, number := range change {
				m.Set(at, number)
			}
			if got, err := stream.ReadUnsent(m.Bytes(), 4); !errors.Is(err, stream.ErrUnsent) || !cmp.Equal(got, stream.Unsent{}) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for _, memory := range [][]byte{nil, make([]byte, 63), make([]byte, stream.UnsentSize-1), make([]byte, stream.UnsentSize+1)} {
		if _, err := stream.ReadUnsent(memory, 0); !errors.Is(err, stream.ErrUnsent) {
			t.Errorf("%d bytes: %v", len(memory), err)
		}
	}
	if _, err := stream.ReadUnsent(make([]byte, stream.UnsentSize), -1); !errors.Is(err, stream.ErrUnsent) {
		t.Errorf("a negative count: %v", err)
	}
}

// TestRecordsOfAnotherFormAreRefused changes the head of the first of two records.
func TestRecordsOfAnotherFormAreRefused(t *testing.T) {
	for name, head := range map[string]string{
		"kind 0":              "\x00\x00\x01\x00\x01\x00\x00\x00",
		"kind 4":              "\x04\x00\x01\x00\x01\x00\x00\x00",
		"another zero":        "\x01\x01\x01\x00\x01\x00\x00\x00",
		"an id over the end":  "\x01\x00\xff\xff\x01\x00\x00\x00",
		"data over the end":   "\x01\x00\x01\x00\xff\xff\xff\xff",
		"data one byte over":  "\x01\x00\x01\x00\x0c\x00\x00\x00",
		"an id, then no data": "\x01\x00\x0d\x00\x00\x00\x00\x00",
	} {
		memory := queued("a", "b").Bytes()
		copy(memory[512<<10:], head)
		if got, err := stream.ReadUnsent(memory, 0); !errors.Is(err, stream.ErrUnsent) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// FuzzUnsent reads any memory. The input has its numbers and the first of its records, and the rest is zero.
func FuzzUnsent(f *testing.F) {
	m := queued("a", "b")
	m.Begin(60, 10)
	m.Keep(64, []byte("456789"))
	memory := m.Bytes()
	f.Add(memory[:100], memory[512<<10:512<<10+100], int64(64))
	f.Add([]byte{18}, []byte("\x03\x00\x00\x00\x0a\x00\x00\x00frame"), int64(0))
	f.Fuzz(func(t *testing.T, first, records []byte, read int64) {
		memory := make([]byte, stream.UnsentSize)
		copy(memory[:512<<10], first)
		copy(memory[512<<10:], records)
		before := bytes.Clone(memory)
		u, err := stream.ReadUnsent(memory, read)
		if !bytes.Equal(memory, before) {
			t.Fatal("the memory was changed")
		}
		total, c := len(u.Rest), stream.New(nil, stream.Options{MaxMessage: 1000, MaxParts: 6})
		for _, r := range u.Records {
			total += len(r.Data) + len(r.Request)
			if m, err := c.Decode(r.Data); err == nil && (len(m.Parts) > 6 || r.Kind < stream.StdoutRecord || r.Kind > stream.FrameRecord) {
				t.Fatalf("a record of kind %d with %d parts", r.Kind, len(m.Parts))
			}
		}
		if total > stream.UnsentSize || u.Lost < 0 || err != nil && !cmp.Equal(u, stream.Unsent{}) {
			t.Fatalf("%d bytes, %d lost, %v", total, u.Lost, err)
		}
	})
}
