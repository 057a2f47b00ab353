// Package boundstest has one table of outputs around the bounds of events, for the tests of agent and host.
//
// An output is the content of a kernel's message, and also of the event that the agent makes of it. So both sides test
// the same cases. A side that loses a bound, or has another one, fails.
package boundstest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

// Case is one bound of one type of output.
type Case struct {
	Name  string // the bound, and what it bounds
	Limit int
	Step  int // the smallest change of the size
	Type  cellhold.EventType
	// Content returns an output of that size.
	Content func(size int) string
	// Size returns the size of an output, by the same measure. It is 0 for an output without the measured part.
	Size func(content []byte) int
}

// Cases are the bounds of outputs.
var Cases = []Case{
	{"MaxLevels of a display", guestapi.MaxLevels, 1, cellhold.EventDisplayData,
		func(n int) string {
			return display(`"application/json":`+strings.Repeat("[", n-2)+strings.Repeat("]", n-2), "", "")
		}, levels},
	{"MaxLevels of metadata", guestapi.MaxLevels, 1, cellhold.EventDisplayData,
		func(n int) string {
			return display(`"text/plain":"x"`, `"a":`+strings.Repeat(`{"b":`, n-2)+"1"+strings.Repeat("}", n-2), "")
		}, levels},
	{"MaxTypes of a display", guestapi.MaxTypes, 1, cellhold.EventDisplayData,
		func(n int) string { return display(entries(n), "", "") },
		func(content []byte) int { return len(shown(content).Data) }},
	{"MaxTypes of metadata", guestapi.MaxTypes, 1, cellhold.EventExecuteResult,
		func(n int) string { return display(`"text/plain":"x"`, entries(n), "") },
		func(content []byte) int { return len(shown(content).Metadata) }},
	{"MaxName of a type", guestapi.MaxName, 1, cellhold.EventDisplayData,
		func(n int) string { return display(`"text/`+strings.Repeat("x", n-5)+`":"y"`, "", "") },
		func(content []byte) int { return longest(shown(content).Data) }},
	{"MaxName of metadata", guestapi.MaxName, 1, cellhold.EventDisplayData,
		func(n int) string { return display(`"text/plain":"x"`, `"`+strings.Repeat("x", n)+`":1`, "") },
		func(content []byte) int { return longest(shown(content).Metadata) }},
	{"MaxName of a display id", guestapi.MaxName, 1, cellhold.EventDisplayData,
		func(n int) string {
			return display(`"text/plain":"x"`, "", `"display_id":"`+strings.Repeat("x", n)+`"`)
		},
		func(content []byte) int {
			if t := shown(content).Transient; t != nil {
				return len(t.DisplayID)
			}
			return 0
		}},
	{"MaxErrorText of ename", guestapi.MaxErrorText, 1, cellhold.EventError,
		func(n int) string { return exception(cellhold.ErrorContent{Name: strings.Repeat("x", n)}) },
		func(content []byte) int { return len(failed(content).Name) }},
	{"MaxErrorText of evalue", guestapi.MaxErrorText, 1, cellhold.EventError,
		func(n int) string { return exception(cellhold.ErrorContent{Value: strings.Repeat("v", n)}) },
		func(content []byte) int { return len(failed(content).Value) }},
	{"MaxTraceback of empty lines", guestapi.MaxTraceback, guestapi.TracebackLine, cellhold.EventError,
		func(n int) string {
			return exception(cellhold.ErrorContent{Traceback: make([]string, n/guestapi.TracebackLine)})
		}, traceback},
	{"MaxTraceback of long lines", guestapi.MaxTraceback, 8, cellhold.EventError,
		func(n int) string {
			line := strings.Repeat("x", n/8-guestapi.TracebackLine)
			return exception(cellhold.ErrorContent{Traceback: []string{line, line, line, line, line, line, line, line}})
		}, traceback},
	{"MaxStream of text", guestapi.MaxStream, 1, cellhold.EventStream,
		func(n int) string { return `{"name":"stdout","text":"` + strings.Repeat("x", n) + `"}` },
		func(content []byte) int {
			var c cellhold.StreamContent
			_ = json.Unmarshal(content, &c)
			return len(c.Text)
		}},
}

// Run calls f for an output below, at and above each bound. Above a bound, kept is false.
func Run(t *testing.T, f func(t *testing.T, c Case, size int, kept bool)) {
	for _, c := range Cases {
		t.Run(c.Name, func(t *testing.T) {
			for _, size := range []int{c.Limit - c.Step, c.Limit, c.Limit + c.Step, 4 * c.Limit} {
				if got := c.Size([]byte(c.Content(size))); got != size {
					t.Fatalf("the table is wrong: an output of size %d has size %d", size, got)
				}
				f(t, c, size, size <= c.Limit)
			}
		})
	}
}

func display(data, metadata, transient string) string {
	return fmt.Sprintf(`{"data":{%s},"metadata":{%s},"transient":{%s}}`, data, metadata, transient)
}

func entries(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"a/%d":"x"`, i)
	}
	return strings.Join(list, ",")
}

func exception(c cellhold.ErrorContent) string {
	if c.Traceback == nil {
		c.Traceback = []string{}
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // text can always be encoded
	}
	return string(b)
}

func shown(content []byte) (c cellhold.DisplayContent) {
	_ = json.Unmarshal(content, &c)
	return c
}

func failed(content []byte) (c cellhold.ErrorContent) {
	_ = json.Unmarshal(content, &c)
	return c
}

func traceback(content []byte) (size int) {
	for _, line := range failed(content).Traceback {
		size += len(line) + guestapi.TracebackLine
	}
	return size
}

func longest(m map[string]json.RawMessage) (n int) {
	for name := range m {
		n = max(n, len(name))
	}
	return n
}

// levels returns the depth of JSON whose texts have no brackets.
func levels(content []byte) (deepest int) {
	level := 0
	for _, c := range content {
		switch c {
		case '{', '[':
			level++
			deepest = max(deepest, level)
		case '}', ']':
			level--
		}
	}
	return deepest
}
