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

// Bounds of what events may contain.
const (
	// maxAhead and maxPast are how far an event's time may be off: clocks differ by little, and
	// a sandbox without a server waits for days at most. Beyond that, now is as good.
	maxAhead = time.Minute
	maxPast  = 30 * 24 * time.Hour
	// maxCount bounds counters of the guest, so that adding to them cannot overflow.
	maxCount = 1 << 40
	// maxInfoText bounds names in the kernel's description, and maxLanguageInfo its language_info.
	maxInfoText     = 200
	maxLanguageInfo = 16 << 10
	// maxTraceLines bounds a traceback; the agent cuts at 256 KiB, which is about 5,000 lines.
	maxTraceLines = 20_000
	// eventLevels is where an event's own fields end: the event, its content, and the maps and
	// lists in that.
	eventLevels = 3
)

var (
	cellPattern = lazy.Regexp(`^[A-Za-z0-9]{1,40}$`)
	namePattern = lazy.Regexp(`^[A-Za-z0-9_-]+$`)
)

var errContent = errors.New("content that does not fit the type")

func validName(s string, most int) bool { return len(s) <= most && namePattern().MatchString(s) }

func validCell(id cellhold.CellID, mayBeEmpty bool) bool {
	return id == "" && mayBeEmpty || cellPattern().MatchString(string(id))
}

func validState(s cellhold.KernelState) bool {
	return slices.Contains([]cellhold.KernelState{
		cellhold.KernelStarting, cellhold.KernelIdle, cellhold.KernelBusy, cellhold.KernelRestarting, cellhold.KernelDead,
	}, s)
}

// parseEvent checks one line. Its number must come after the last one; otherwise, and when it is no
// event at all, the error means that the agent is not to be listened to any more. An event that can
// be passed over comes back with its number and without a type.
func parseEvent(line []byte, after int64) (guestapi.Event, error) {
	var e guestapi.Event
	if !fits(line, eventLevels, maxTraceLines) {
		return e, strange("an event that is too deep or too wide")
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return guestapi.Event{}, strange("an event that is not the expected JSON")
	}
	if e.Seq <= after {
		return guestapi.Event{}, strange(fmt.Sprintf("event %d after event %d", e.Seq, after))
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

// plausible keeps the guest from writing history in other centuries, some of which our own encoders
// refuse.
func plausible(t time.Time) time.Time {
	now := time.Now().UTC()
	if t.After(now.Add(maxAhead)) || t.Before(now.Add(-maxPast)) {
		return now
	}
	return t.UTC()
}

// checks has a function for each type that may come from a guest: it reads the content and writes it
// anew with nothing but what the type has.
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

// rewrite decodes a content, lets check correct or refuse it, and encodes it. Text becomes valid
// UTF-8 on the way.
func rewrite[C any](check func(*C) error) func(json.RawMessage) (json.RawMessage, error) {
	return rewriteAs(check, func(c *C) any { return c })
}

// rewriteAs is rewrite with a function that returns the form in which the content is encoded.
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
		if len(b) > guestapi.MaxEvent {
			return nil, errContent
		}
		return b, err
	}
}

// encode leaves <, > and & as they are: escaped, an HTML page would grow beyond its bound.
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

// checkCellDone leaves to the host what only the host can know: oom and lost.
func checkCellDone(c *cellhold.CellDoneContent) error {
	switch c.Status {
	case cellhold.StatusOK, cellhold.StatusError, cellhold.StatusInterrupted, cellhold.StatusTimeout,
		cellhold.StatusCancelled, cellhold.StatusSignal, cellhold.StatusExit:
	default:
		return errContent
	}
	c.Cause = sentence(c.Cause)
	c.ExecutionCount = clamp(c.ExecutionCount)
	if c.Usage != nil { // of the rest the host knows better
		cpu := c.Usage.CPU
		if c.Usage = nil; cpu != nil {
			c.Usage = &cellhold.Usage{CPU: new(min(max(*cpu, 0), maxCount))}
		}
	}
	return checkCellFiles(c.Files)
}

// checkInputRequest keeps the prompt as it is but for its length: whoever shows it takes care of control
// characters, as with all output.
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
	c.Data = nil // cells have text
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

// wholeDisplay and wholeResult return displays and results with all fields that Jupyter gives them, also empty ones.
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

// clamp keeps a number in what every reader takes for an integer.
func clamp(n int) int { return min(max(n, 0), 1<<31-1) }

func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
