package cellhold

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// EventType says what an event is about. Readers ignore types they do not know.
type EventType string

// The types of event. The content of each is the struct of the same name below; the six output
// types bear Jupyter's own names, and their content is Jupyter's own.
const (
	EventKernelState       EventType = "kernel_state"
	EventCellQueued        EventType = "cell_queued"
	EventCellStarted       EventType = "cell_started"
	EventStream            EventType = "stream"
	EventDisplayData       EventType = "display_data"
	EventExecuteResult     EventType = "execute_result"
	EventError             EventType = "error"
	EventUpdateDisplayData EventType = "update_display_data"
	EventClearOutput       EventType = "clear_output"
	EventOutputDropped     EventType = "output_dropped"
	EventInputRequest      EventType = "input_request"
	EventInputReply        EventType = "input_reply"
	EventCellDone          EventType = "cell_done"
	EventCommandStarted    EventType = "command_started"
	EventCommandDone       EventType = "command_done"
	EventSessionEnded      EventType = "session_ended"
	EventEgress            EventType = "egress" // content: EgressAttempt
	EventSessionHibernated EventType = "session_hibernated"
	EventSessionResumed    EventType = "session_resumed"
	EventSessionForked     EventType = "session_forked"
	EventSessionRolledBack EventType = "session_rolled_back"
)

// Event is one numbered fact about a session. Numbers start at 1 and have no gaps.
type Event struct {
	Seq     int64           `json:"seq" doc:"Number of the event within its session; give it as after to read on."`
	Time    time.Time       `json:"time" doc:"When it happened."`
	Kernel  KernelID        `json:"kernel,omitempty" doc:"The kernel it is about."`
	Cell    CellID          `json:"cell,omitempty" doc:"The cell it belongs to."`
	Command CommandID       `json:"command,omitempty" doc:"The command it belongs to."`
	Type    EventType       `json:"type" doc:"What it is about; ignore types you do not know." example:"stream"`
	Content json.RawMessage `json:"content" doc:"Depends on the type; for outputs it is Jupyter's own content."`
}

// KernelStateContent is the content of kernel_state.
type KernelStateContent struct {
	State  KernelState `json:"state"`
	Cause  CellStatus  `json:"cause,omitempty"`  // when dead: oom, signal, exit, timeout or lost
	Detail string      `json:"detail,omitempty"` // one sentence, when dead
	Exit   int         `json:"exit,omitempty"`   // exit status, when it exited
	Signal int         `json:"signal,omitempty"` // signal number, when one ended it
	Info   *KernelInfo `json:"kernel,omitempty"` // when it became idle after a start
}

// KernelInfo is what a kernel says of itself, as needed in a notebook.
type KernelInfo struct {
	Name         string          `json:"name"`          // kernelspec name
	DisplayName  string          `json:"display_name"`  // for people
	Language     string          `json:"language"`      // "python"
	LanguageInfo json.RawMessage `json:"language_info"` // Jupyter's language_info object
}

// CellQueuedContent is the content of cell_queued.
type CellQueuedContent struct {
	Position int `json:"position"` // cells before it, the running one included
}

// CellStartedContent is the content of cell_started.
type CellStartedContent struct {
	ExecutionCount int `json:"execution_count,omitempty"`
}

// StreamContent is the content of stream. A long text comes in several events. What a command writes
// need not be text: then it is in Data, in base64.
type StreamContent struct {
	Name string `json:"name"` // stdout or stderr
	Text string `json:"text"`
	Data []byte `json:"data,omitempty"` // commands only
}

// DisplayContent is the content of display_data, update_display_data and execute_result.
type DisplayContent struct {
	Data           map[string]json.RawMessage `json:"data"`                      // by MIME type
	Metadata       map[string]json.RawMessage `json:"metadata"`                  // by MIME type or name
	Transient      *Transient                 `json:"transient,omitempty"`       // the name of the display, if it has one
	ExecutionCount int                        `json:"execution_count,omitempty"` // execute_result
}

// Transient is the part of a display that is not kept in notebooks.
type Transient struct {
	DisplayID string `json:"display_id,omitempty"`
}

// ErrorContent is the content of error: an exception in the guest's code.
type ErrorContent struct {
	Name      string   `json:"ename"`
	Value     string   `json:"evalue"`
	Traceback []string `json:"traceback"` // lines with ANSI colours
}

// ClearOutputContent is the content of clear_output.
type ClearOutputContent struct {
	Wait bool `json:"wait"` // clear only when the next output arrives
}

// SessionHibernatedContent is the content of session_hibernated: the session is on disk and uses no
// memory and no processor.
type SessionHibernatedContent struct {
	Idle bool `json:"idle,omitempty"` // because nothing used it, and nobody asked
}

// SessionResumedContent is the content of session_resumed: everything in it goes on.
type SessionResumedContent struct{}

// SessionForkedContent is the content of session_forked, the first event of a fork's own: those before
// it are its parent's.
type SessionForkedContent struct {
	Parent SessionID `json:"parent"`
}

// SessionRolledBackContent is the content of session_rolled_back: memory and files are as they were
// after the event Last. What came between is history, and its cells are undone.
type SessionRolledBackContent struct {
	Checkpoint string `json:"checkpoint"`
	Last       int64  `json:"last"`
}

// OutputDroppedContent is the content of output_dropped: output that did not fit the bounds.
type OutputDroppedContent struct {
	Bytes    int64 `json:"bytes"`
	Messages int64 `json:"messages"`
}

// InputRequestContent is the content of input_request: the code of a cell waits for a line of text.
type InputRequestContent struct {
	Prompt   string `json:"prompt"`
	Password bool   `json:"password"` // what is typed should not be shown
}

// InputReplyContent is the content of input_reply: the question was answered. The answer is not kept.
type InputReplyContent struct {
	Request int64 `json:"request"` // number of the input_request event
}

// CellDoneContent is the content of cell_done, the last event of a cell but for late output.
type CellDoneContent struct {
	Status         CellStatus `json:"status"`
	Cause          string     `json:"cause,omitempty"` // one sentence, when the status alone does not tell
	ExecutionCount int        `json:"execution_count,omitempty"`
	FilesChanged   bool       `json:"files_changed,omitempty"` // in /mnt/data/output
	Files          []CellFile `json:"files,omitempty"`         // that were written meanwhile, below /workspace and /mnt/data/output
	MoreFiles      bool       `json:"more_files,omitempty"`    // there were others
	Usage          *Usage     `json:"usage,omitempty"`
}

// SessionEndedContent is the content of session_ended, the last event of a session.
type SessionEndedContent struct {
	Reason EndReason `json:"reason"`
}

// NewEvent returns an event with that content; Seq and Time are set where it is recorded. It
// panics when the content cannot be encoded, which only a programmer's mistake can cause.
func NewEvent(t EventType, k KernelID, c CellID, content any) Event {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(fmt.Sprintf("content of %s: %v", t, err))
	}
	return Event{Type: t, Kernel: k, Cell: c, Content: raw}
}

// Decode reads the content into a value of the content type that belongs to the event's type.
func (e Event) Decode(content any) error {
	if err := json.Unmarshal(e.Content, content); err != nil {
		return fmt.Errorf("content of event %d (%s): %w", e.Seq, e.Type, err)
	}
	return nil
}

// Output is one output of a cell in notebook form: a value of output_type and the fields that
// nbformat 4.5 gives to that type. In JSON all fields of its type are there, also empty ones.
type Output struct {
	Type           EventType                  `json:"output_type" enum:"stream,display_data,execute_result,error" doc:"Which of the four kinds it is."`
	Name           string                     `json:"name,omitempty" doc:"stdout or stderr (stream; always there)."`
	Text           string                     `json:"text,omitempty" doc:"The text (stream; always there)."`
	Data           map[string]json.RawMessage `json:"data,omitempty" doc:"The result by MIME type (display_data, execute_result; always there). A value is text, or any JSON where the type is application/json or ends with +json."`
	Metadata       map[string]json.RawMessage `json:"metadata,omitempty" doc:"Metadata by MIME type or name (display_data, execute_result; always there)."`
	ExecutionCount int                        `json:"execution_count,omitempty" doc:"The number in the kernel's prompt, null when there is none (execute_result; always there)."`
	ErrorName      string                     `json:"ename,omitempty" doc:"Class of the exception (error; always there)."`
	ErrorValue     *string                    `json:"evalue,omitempty" doc:"Text of the exception (error; always there)."`
	Traceback      []string                   `json:"traceback,omitempty" doc:"The traceback, with ANSI colours (error; always there)."`

	// What notebooks do not have.
	DisplayID string `json:"display_id,omitempty" doc:"Name of the display, by which later code can replace it (display_data, execute_result)."`
	Truncated bool   `json:"truncated,omitempty" doc:"The text is not whole: its beginning and its end are here (stream)."`
	Bytes     int64  `json:"bytes,omitempty" doc:"Bytes of the whole text, when truncated."`
	Omitted   int64  `json:"omitted,omitempty" doc:"Bytes that are missing, when truncated."`
}

// MarshalJSON writes all fields that the type of the output has. An output of another type is written as it is.
func (o Output) MarshalJSON() ([]byte, error) {
	type plain Output // its fields, without this method
	rest := plain(o)
	var v any = rest
	switch o.Type {
	case EventStream:
		v = struct {
			Type EventType `json:"output_type"`
			Name string    `json:"name"`
			Text string    `json:"text"`
			plain
		}{o.Type, o.Name, o.Text, rest}
	case EventDisplayData:
		v = struct {
			Type     EventType                  `json:"output_type"`
			Data     map[string]json.RawMessage `json:"data"`
			Metadata map[string]json.RawMessage `json:"metadata"`
			plain
		}{o.Type, filled(o.Data), filled(o.Metadata), rest}
	case EventExecuteResult:
		v = struct {
			Type     EventType                  `json:"output_type"`
			Count    *int                       `json:"execution_count"`
			Data     map[string]json.RawMessage `json:"data"`
			Metadata map[string]json.RawMessage `json:"metadata"`
			plain
		}{o.Type, countOrNil(o.ExecutionCount), filled(o.Data), filled(o.Metadata), rest}
	case EventError:
		value := ""
		if o.ErrorValue != nil {
			value = *o.ErrorValue
		}
		v = struct {
			Type      EventType `json:"output_type"`
			Name      string    `json:"ename"`
			Value     string    `json:"evalue"`
			Traceback []string  `json:"traceback"`
			plain
		}{o.Type, o.ErrorName, value, append([]string{}, o.Traceback...), rest}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the encoder of the whole escapes what it has to
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func filled(m map[string]json.RawMessage) map[string]json.RawMessage {
	if m == nil {
		return map[string]json.RawMessage{}
	}
	return m
}

func countOrNil(n int) *int {
	if n < 1 {
		return nil
	}
	return &n
}

// Exception is what an error says in one line, as Python writes it.
func (o Output) Exception() string {
	if o.ErrorValue == nil || *o.ErrorValue == "" {
		return o.ErrorName
	}
	return o.ErrorName + ": " + *o.ErrorValue
}
