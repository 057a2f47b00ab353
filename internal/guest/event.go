package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

// Limits of values that are replaced or cut. The bounds that make the host leave out an event are in guestapi.
const (
	// maxAhead and maxPast bound the error of an event's time. Clocks differ by little, and a sandbox waits
	// at most some days without a server. A time outside these bounds is replaced by the current time.
	maxAhead = time.Minute
	maxPast  = 30 * 24 * time.Hour
	// maxCount bounds counters of the guest, so that sums cannot overflow.
	maxCount = 1 << 40
)

var (
	cellPattern = lazy.Regexp(`^[A-Za-z0-9]{1,40}$`)
	namePattern = lazy.Regexp(`^[A-Za-z0-9_-]+$`)
)

// errContent is the reason for a refused event, as the end of a sentence. So are the errors of all checks.
var errContent = errors.New("its content does not have the form of its type")

func validName(s string, most int) bool { return len(s) <= most && namePattern().MatchString(s) }

func validCell(id cellhold.CellID, mayBeEmpty bool) bool {
	return id == "" && mayBeEmpty || cellPattern().MatchString(string(id))
}

func validState(s cellhold.KernelState) bool {
	return slices.Contains([]cellhold.KernelState{
		cellhold.KernelStarting, cellhold.KernelIdle, cellhold.KernelBusy, cellhold.KernelRestarting, cellhold.KernelDead,
	}, s)
}

// plausible replaces a time that is far from the current time. Encoders refuse some of these times.
func plausible(t time.Time) time.Time {
	now := time.Now().UTC()
	if t.After(now.Add(maxAhead)) || t.Before(now.Add(-maxPast)) {
		return now
	}
	return t.UTC()
}

// kernelChecks are the checks of the events of a kernel.
var kernelChecks = map[cellhold.EventType]func(json.RawMessage) (json.RawMessage, error){
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
			return nil, tooMany("bytes", len(b), guestapi.MaxEvent)
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
			*s = firstRunes(sentence(*s), guestapi.MaxInfoText)
		}
		if len(i.LanguageInfo) > guestapi.MaxLanguageInfo || len(i.LanguageInfo) == 0 || i.LanguageInfo[0] != '{' {
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
	var invalid bool
	c.Files, invalid = checkCellFiles(c.Files)
	c.MoreFiles = c.MoreFiles || invalid
	return nil
}

// checkInputRequest bounds the length of the prompt. It keeps control characters, as in all output: the
// program that shows the prompt must handle them.
func checkInputRequest(c *cellhold.InputRequestContent) error {
	if len(c.Prompt) > guestapi.MaxPrompt {
		return tooMany("bytes", len(c.Prompt), guestapi.MaxPrompt)
	}
	return nil
}

func checkStream(c *cellhold.StreamContent) error {
	if c.Name != "stdout" && c.Name != "stderr" {
		return errContent
	}
	if len(c.Text) > guestapi.MaxStream {
		return tooMany("bytes", len(c.Text), guestapi.MaxStream)
	}
	c.Data = nil // cells have only text
	return nil
}

// checkError keeps the name and the text of an exception whose other parts are too large.
func checkError(c *cellhold.ErrorContent) error {
	c.Name, c.Value = firstBytes(c.Name, guestapi.MaxErrorText), firstBytes(c.Value, guestapi.MaxErrorText)
	size := 0
	for _, line := range c.Traceback {
		size += len(line) + guestapi.TracebackLine
	}
	if size > guestapi.MaxTraceback {
		c.Traceback = []string{fmt.Sprintf("[A traceback of %d lines and %d bytes was left out; the limit is %d bytes.]",
			len(c.Traceback), size-len(c.Traceback)*guestapi.TracebackLine, guestapi.MaxTraceback)}
	}
	if c.Traceback == nil {
		c.Traceback = []string{}
	}
	return nil
}

func checkDropped(c *cellhold.OutputDroppedContent) error {
	c.Bytes = min(max(c.Bytes, 0), maxCount)
	c.Messages = min(max(c.Messages, 0), maxCount)
	c.Reason = "" // only the host refuses output
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
	if c.Transient != nil && (c.Transient.DisplayID == "" || len(c.Transient.DisplayID) > guestapi.MaxName) {
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

// firstBytes returns the first n bytes of a text, or fewer so that no character is cut.
func firstBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
