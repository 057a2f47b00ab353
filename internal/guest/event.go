package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

// Bounds of events.
const (
	// maxAhead and maxPast bound the error of an event's time. Clocks differ by little, and a sandbox waits
	// at most some days without a server. A time outside these bounds is replaced by the current time.
	maxAhead = time.Minute
	maxPast  = 30 * 24 * time.Hour
	// maxCount bounds counters of the guest, so that sums cannot overflow.
	maxCount = 1 << 40
	// maxInfoText bounds names in the kernel's description, and maxLanguageInfo its language_info.
	maxInfoText     = 200
	maxLanguageInfo = 16 << 10
	// maxTraceLines bounds the lines of a traceback. The agent cuts tracebacks at 128 KiB, and counts at least 16
	// bytes for each line.
	maxTraceLines = 20_000
	// eventLevels is the depth of an event's own fields: the event, its content, and the maps and lists in the
	// content.
	eventLevels = 3
)

var (
	cellPattern = lazy.Regexp(`^[A-Za-z0-9]{1,40}$`)
	namePattern = lazy.Regexp(`^[A-Za-z0-9_-]+$`)
)

var errContent = errors.New("content that does not match the type")

func validName(s string, most int) bool { return len(s) <= most && namePattern().MatchString(s) }

func validCell(id cellhold.CellID, mayBeEmpty bool) bool {
	return id == "" && mayBeEmpty || cellPattern().MatchString(string(id))
}

func validState(s cellhold.KernelState) bool {
	return slices.Contains([]cellhold.KernelState{
		cellhold.KernelStarting, cellhold.KernelIdle, cellhold.KernelBusy, cellhold.KernelRestarting, cellhold.KernelDead,
	}, s)
}

// parseEvent checks one line. It fails if the line is not an event, or if its number is not above after. Then
// the caller must stop reading from the agent. If the caller must skip the event, parseEvent returns only its
// number, without a type.
func parseEvent(line []byte, after int64) (guestapi.Event, error) {
	var e guestapi.Event
	if !fits(line, eventLevels, maxTraceLines) {
		return e, invalidData("an event that is too deep or too wide")
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return guestapi.Event{}, invalidData("an event that is not the expected JSON")
	}
	if e.Seq <= after {
		return guestapi.Event{}, invalidData(fmt.Sprintf("event %d after event %d", e.Seq, after))
	}
	skip := guestapi.Event{Seq: e.Seq}
	check := checks[e.Type]
	if check == nil || !validCell(e.Cell, e.Type == cellhold.EventKernelState) {
		return skip, nil
	}
	content, err := check(e.Content)
	if err != nil {
		return skip, nil
	}
	e.Content = content
	e.Time = plausible(e.Time)
	if e.Type == cellhold.EventKernelState {
		e.Cell = ""
	}
	return e, nil
}

// plausible replaces a time that is far from the current time. Encoders refuse some of these times.
func plausible(t time.Time) time.Time {
	now := time.Now().UTC()
	if t.After(now.Add(maxAhead)) || t.Before(now.Add(-maxPast)) {
		return now
	}
	return t.UTC()
}

// checks has a function for each type that a guest can send. It decodes the content and encodes only the
// fields of the type.
var checks = map[cellhold.EventType]func(json.RawMessage) (json.RawMessage, error){
	cellhold.EventKernelState:       rewrite(checkKernelState),
	cellhold.EventCellStarted:       rewrite(checkCellStarted),
	cellhold.EventStream:            rewrite(checkStream),
	cellhold.EventDisplayData:       rewriteAs(checkShown, wholeDisplay),
	cellhold.EventUpdateDisplayData: rewriteAs(checkShown, wholeDisplay),
	cellhold.EventExecuteResult:     rewriteAs(checkResult, wholeResult),
	cellhold.EventError:             rewrite(checkError),
	cellhold.EventClearOutput:       rewrite(func(*cellhold.ClearOutputContent) error { return nil }),
	cellhold.EventOutputDropped:     rewrite(checkDropped),
	cellhold.EventInputRequest:      rewrite(checkInputRequest),
	cellhold.EventCellDone:          rewrite(checkCellDone),
}

// rewrite decodes a content, calls check to correct or refuse it, and encodes it. The result is valid
// UTF-8.
func rewrite[C any](check func(*C) error) func(json.RawMessage) (json.RawMessage, error) {
	return rewriteAs(check, func(c *C) any { return c })
}

// rewriteAs is rewrite with a function that returns the value to encode.
func rewriteAs[C any](check func(*C) error, form func(*C) any) func(json.RawMessage) (json.RawMessage, error) {
	return func(raw json.RawMessage) (json.RawMessage, error) {
		c := new(C)
		if len(raw) == 0 || raw[0] != '{' {
			return nil, errContent
		}
		if err := json.Unmarshal(raw, c); err != nil {
			return nil, errContent
		}
		if err := check(c); err != nil {
			return nil, err
		}
		b, err := encode(form(c))
		if d, ok := any(c).(*cellhold.DisplayContent); ok && len(b) > guestapi.MaxEvent {
			leaveOut(d, len(b))
			b, err = encode(form(c))
		}
		if len(b) > guestapi.MaxEvent {
			return nil, errContent
		}
		return b, err
	}
}

// encode encodes a value as JSON. It does not escape <, > and &, because with escapes a page of HTML can exceed the
// limit.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func checkKernelState(c *cellhold.KernelStateContent) error {
	causes := []cellhold.CellStatus{"", cellhold.StatusExit, cellhold.StatusSignal, cellhold.StatusTimeout}
	if !validState(c.State) || !slices.Contains(causes, c.Cause) {
		return errContent
	}
	c.Detail = sentence(c.Detail)
	c.Exit, c.Signal = clamp(c.Exit), clamp(c.Signal)
	if i := c.Info; i != nil {
		for _, s := range []*string{&i.Name, &i.DisplayName, &i.Language} {
			*s = firstRunes(sentence(*s), maxInfoText)
		}
		if len(i.LanguageInfo) > maxLanguageInfo || len(i.LanguageInfo) == 0 || i.LanguageInfo[0] != '{' {
			i.LanguageInfo = json.RawMessage("{}")
		}
		i.LanguageInfo = cleanJSON(i.LanguageInfo)
	}
	return nil
}

func checkCellStarted(c *cellhold.CellStartedContent) error {
	c.ExecutionCount = clamp(c.ExecutionCount)
	return nil
}

// checkCellDone fails for the statuses oom and lost, because only the host can know them.
func checkCellDone(c *cellhold.CellDoneContent) error {
	switch c.Status {
	case cellhold.StatusOK, cellhold.StatusError, cellhold.StatusInterrupted, cellhold.StatusTimeout,
		cellhold.StatusCancelled, cellhold.StatusSignal, cellhold.StatusExit:
	default:
		return errContent
	}
	c.Cause = sentence(c.Cause)
	c.ExecutionCount = clamp(c.ExecutionCount)
	if c.Usage != nil { // the host measures the other values itself
		cpu := c.Usage.CPU
		if c.Usage = nil; cpu != nil {
			c.Usage = &cellhold.Usage{CPU: new(min(max(*cpu, 0), maxCount))}
		}
	}
	return checkCellFiles(c.Files)
}

// checkInputRequest bounds the length of the prompt. It keeps control characters, as in all output: the
// program that shows the prompt must handle them.
func checkInputRequest(c *cellhold.InputRequestContent) error {
	if len(c.Prompt) > guestapi.MaxPrompt {
		return errContent
	}
	return nil
}

func checkStream(c *cellhold.StreamContent) error {
	if c.Name != "stdout" && c.Name != "stderr" || len(c.Text) > guestapi.MaxStream {
		return errContent
	}
	c.Data = nil // cells have only text
	return nil
}

func checkError(c *cellhold.ErrorContent) error {
	if len(c.Traceback) > maxTraceLines {
		return errContent
	}
	if c.Traceback == nil {
		c.Traceback = []string{}
	}
	return nil
}

func checkDropped(c *cellhold.OutputDroppedContent) error {
	c.Bytes = min(max(c.Bytes, 0), maxCount)
	c.Messages = min(max(c.Messages, 0), maxCount)
	return nil
}

func checkShown(c *cellhold.DisplayContent) error {
	c.ExecutionCount = 0
	return checkDisplay(c)
}

func checkResult(c *cellhold.DisplayContent) error {
	c.ExecutionCount = clamp(c.ExecutionCount)
	return checkDisplay(c)
}

func checkDisplay(c *cellhold.DisplayContent) error {
	if c.Transient != nil && (c.Transient.DisplayID == "" || len(c.Transient.DisplayID) > maxKey) {
		c.Transient = nil
	}
	return checkBundle(c)
}

// wholeDisplay and wholeResult return displays and results with all fields of Jupyter, also empty ones.
func wholeDisplay(c *cellhold.DisplayContent) any {
	transient := cellhold.Transient{}
	if c.Transient != nil {
		transient = *c.Transient
	}
	return struct {
		Data      map[string]json.RawMessage `json:"data"`
		Metadata  map[string]json.RawMessage `json:"metadata"`
		Transient cellhold.Transient         `json:"transient"`
	}{c.Data, c.Metadata, transient}
}

func wholeResult(c *cellhold.DisplayContent) any {
	count := &c.ExecutionCount
	if *count < 1 {
		count = nil
	}
	return struct {
		Data      map[string]json.RawMessage `json:"data"`
		Metadata  map[string]json.RawMessage `json:"metadata"`
		Transient *cellhold.Transient        `json:"transient,omitempty"`
		Count     *int                       `json:"execution_count"`
	}{c.Data, c.Metadata, c.Transient, count}
}

// clamp returns n within the bounds of a non-negative 32-bit integer.
func clamp(n int) int { return min(max(n, 0), 1<<31-1) }

func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
