package e2b

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"cellhold"
)

// pythonStartup adds the types e2b/data and e2b/chart to the displays of tables and figures.
//
//go:embed startup.py
var pythonStartup string

// line is one line of the output of a cell.
type line struct {
	Type  string `json:"type"`
	Count int    `json:"execution_count,omitempty"`
}

// outputLine is a line of stdout or stderr.
type outputLine struct {
	Type      string `json:"type"`
	Text      string `json:"text"`
	Timestamp string `json:"timestamp"`
}

// errorLine is an exception, or the reason why the code did not end.
type errorLine struct {
	Type      string `json:"type"`
	Name      string `json:"name"`
	Value     string `json:"value"`
	Traceback string `json:"traceback"`
}

// translator translates the events of one cell.
type translator struct {
	counted bool
	failed  bool
}

// translate returns the lines of an event.
func (t *translator) translate(ev cellhold.Event) []any {
	switch ev.Type {
	case cellhold.EventCellStarted:
		var c cellhold.CellStartedContent
		if ev.Decode(&c) == nil {
			return t.count(c.ExecutionCount)
		}
	case cellhold.EventStream:
		var c cellhold.StreamContent
		if ev.Decode(&c) == nil && (c.Name == "stdout" || c.Name == "stderr") {
			return []any{outputLine{c.Name, c.Text, stamp(ev.Time)}}
		}
	case cellhold.EventOutputDropped:
		var c cellhold.OutputDroppedContent
		if ev.Decode(&c) == nil {
			return []any{outputLine{"stderr", fmt.Sprintf("[%d bytes of output exceeded the limits and were dropped]\n", c.Bytes), stamp(ev.Time)}}
		}
	case cellhold.EventExecuteResult, cellhold.EventDisplayData:
		var c cellhold.DisplayContent
		if ev.Decode(&c) == nil {
			return []any{result(c, ev.Type == cellhold.EventExecuteResult)}
		}
	case cellhold.EventError:
		var c cellhold.ErrorContent
		if ev.Decode(&c) == nil {
			t.failed = true
			return []any{errorLine{"error", c.Name, c.Value, strings.Join(c.Traceback, "\n")}}
		}
	case cellhold.EventCellDone:
		var c cellhold.CellDoneContent
		if ev.Decode(&c) == nil {
			return append(append(t.count(c.ExecutionCount), t.end(c)...), line{Type: "end_of_execution"})
		}
	}
	return nil
}

// count returns the line with the execution count, once.
func (t *translator) count(n int) []any {
	if n < 1 || t.counted {
		return nil
	}
	t.counted = true
	return []any{line{Type: "number_of_executions", Count: n}}
}

// endNames has the names of errors for cells that ended without an exception.
var endNames = map[cellhold.CellStatus]string{
	cellhold.StatusInterrupted: "KeyboardInterrupt", cellhold.StatusTimeout: "TimeoutError", cellhold.StatusCancelled: "CancelledError",
	cellhold.StatusOOM: "OutOfMemoryError", cellhold.StatusSignal: "KernelDied", cellhold.StatusExit: "KernelDied", cellhold.StatusLost: "SandboxLost",
}

// end returns an error for a cell that did not end well and had no exception.
func (t *translator) end(c cellhold.CellDoneContent) []any {
	if c.Status == cellhold.StatusOK || t.failed {
		return nil
	}
	name := endNames[c.Status]
	if name == "" {
		name = "ExecutionError"
	}
	value := c.Cause
	if value == "" {
		value = fmt.Sprintf("The code ended with the status %s.", c.Status)
	}
	return []any{errorLine{"error", name, value, name + ": " + value}}
}

// stamp returns a time as E2B's code server writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000-07:00") }

// resultFields has E2B's fields of results by media type.
var resultFields = map[string]string{
	"text/plain": "text", "text/html": "html", "text/markdown": "markdown", "image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg",
	"application/pdf": "pdf", "text/latex": "latex", "application/json": "json", "application/javascript": "javascript",
}

// structured has the fields whose values are objects. Kernels send them as JSON text, because their types are not known
// to be JSON.
var structured = map[string]string{"e2b/data": "data", "e2b/chart": "chart"}

// maxStructured is the maximum size of an object in bytes, and maxLevels that of its depth. Agents have the same limit for
// other outputs, because readers in other languages fail at a limit between 100 and 1000 levels.
const (
	maxStructured = 4 << 20
	maxLevels     = 90
)

// result returns the line of a display. Values are foreign, and they stay JSON that the server encodes.
func result(c cellhold.DisplayContent, isMain bool) map[string]any {
	l := map[string]any{"type": "result", "is_main_result": isMain}
	extra := map[string]json.RawMessage{}
	for media, value := range c.Data {
		switch field := resultFields[media]; {
		case field == "text":
			l[field] = unquoted(value)
		case field != "":
			l[field] = value
		case structured[media] != "":
			if object, ok := object(value); ok {
				l[structured[media]] = object
			}
		default:
			extra[media] = value
		}
	}
	if len(extra) > 0 {
		l["extra"] = extra
	}
	return l
}

// unquoted removes the quotes of a Python text.
func unquoted(value json.RawMessage) any {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return value
	}
	if n := len(text); n >= 2 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return text[1 : n-1]
	}
	return text
}

// object reads an object that a kernel sent as JSON text. It refuses other values, and large and deep ones.
func object(value json.RawMessage) (json.RawMessage, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		value = json.RawMessage(text)
	}
	text = strings.TrimSpace(string(value))
	if len(text) > maxStructured || !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) || levels(text) > maxLevels {
		return nil, false
	}
	return json.RawMessage(text), true
}

// levels returns the depth of valid JSON.
func levels(text string) (most int) {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++ // the next character is escaped
		case c == '"':
			inText = !inText
		case inText:
		case c == '{', c == '[':
			depth++
			most = max(most, depth)
		case c == '}', c == ']':
			depth--
		}
	}
	return most
}
