package cellhold

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// EventType is the type of an event. Readers must ignore types that they do not know.
type EventType string

// The types of event. The content of each type is the struct with its name, unless a comment says otherwise:
// kernel_state has KernelStateContent. The types from stream to clear_output have Jupyter's names and Jupyter's
// content.
const (
	EventKernelState       EventType = "kernel_state"
	EventCellQueued        EventType = "cell_queued"
	EventCellStarted       EventType = "cell_started"
	EventStream            EventType = "stream"
	EventDisplayData       EventType = "display_data"   // content: DisplayContent
	EventExecuteResult     EventType = "execute_result" // content: DisplayContent
	EventError             EventType = "error"
	EventUpdateDisplayData EventType = "update_display_data" // content: DisplayContent
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
	EventRecordDamaged     EventType = "record_damaged" // content: an empty object; the disk has changed the event, so its content is lost
)

// Event is one numbered entry in the history of a session. Numbers start at 1 and have no gaps.
type Event struct {
	Seq     int64           `json:"seq" doc:"Number of the event within its session. Send it as after to read the next events."`
	Time    time.Time       `json:"time" doc:"Time of the event."`
	Kernel  KernelID        `json:"kernel,omitempty" doc:"Kernel of the event."`
	Cell    CellID          `json:"cell,omitempty" doc:"Cell of the event."`
	Command CommandID       `json:"command,omitempty" doc:"Command of the event."`
	Type    EventType       `json:"type" doc:"Type of the event. Ignore types that you do not know." example:"stream"`
	Content json.RawMessage `json:"content" doc:"Content, which depends on the type. Outputs have Jupyter's content."`
}

// KernelStateContent is the content of kernel_state.
type KernelStateContent struct {
	State  KernelState `json:"state"`
	Cause  CellStatus  `json:"cause,omitempty"`  // if dead: oom, signal, exit, timeout or lost
	Detail string      `json:"detail,omitempty"` // if dead: one sentence
	Exit   int         `json:"exit,omitempty"`   // exit status, if the kernel exited
	Signal int         `json:"signal,omitempty"` // signal number, if a signal ended the kernel
	Info   *KernelInfo `json:"kernel,omitempty"` // set when the kernel becomes idle after a start
}

// KernelInfo is the description that a kernel gives of itself, as needed in a notebook.
type KernelInfo struct {
	Name         string          `json:"name"`          // name of the kernelspec
	DisplayName  string          `json:"display_name"`  // name for people
	Language     string          `json:"language"`      // "python"
	LanguageInfo json.RawMessage `json:"language_info"` // Jupyter's language_info object
}

// CellQueuedContent is the content of cell_queued.
type CellQueuedContent struct {
	Position int `json:"position"` // number of cells before this one, including the running one
}

// CellStartedContent is the content of cell_started.
type CellStartedContent struct {
	ExecutionCount int `json:"execution_count,omitempty"`
}

// StreamContent is the content of stream. A long text is split into several events. If the output of a
// command is not valid UTF-8, it is in Data, in base64.
type StreamContent struct {
	Name string `json:"name"` // stdout or stderr
	Text string `json:"text"`
	Data []byte `json:"data,omitempty"` // commands only
}

// DisplayContent is the content of display_data, update_display_data and execute_result.
type DisplayContent struct {
	Data           map[string]json.RawMessage `json:"data"`                      // by MIME type
	Metadata       map[string]json.RawMessage `json:"metadata"`                  // by MIME type or name
	Transient      *Transient                 `json:"transient,omitempty"`       // the id of the display, if it has one
	ExecutionCount int                        `json:"execution_count,omitempty"` // execute_result only
}

// Transient is the part of a display that notebooks do not store.
type Transient struct {
	DisplayID string `json:"display_id,omitempty"`
}

// ErrorContent is the content of error: an exception in the code of a cell.
type ErrorContent struct {
	Name      string   `json:"ename"`
	Value     string   `json:"evalue"`
	Traceback []string `json:"traceback"` // lines with ANSI colours
}

// ClearOutputContent is the content of clear_output.
type ClearOutputContent struct {
	Wait bool `json:"wait"` // clear only when the next output arrives
}

// SessionHibernatedContent is the content of session_hibernated. The session is now on disk and uses no
// memory and no CPU.
type SessionHibernatedContent struct {
	Idle bool `json:"idle,omitempty"` // true if the server hibernated an idle session without a request
}

// SessionResumedContent is the content of session_resumed: everything in the session continues.
type SessionResumedContent struct{}

// SessionForkedContent is the content of session_forked. It is the first event of the fork itself; all events
// before it are the parent's.
type SessionForkedContent struct {
	Parent SessionID `json:"parent"`
}

// SessionRolledBackContent is the content of session_rolled_back. Memory and files are as they were after the
// event with the number Last. The events since then stay in the history, and their cells are undone.
type SessionRolledBackContent struct {
	Checkpoint string `json:"checkpoint"`
	Last       int64  `json:"last"`
}

// OutputDroppedContent is the content of output_dropped: the amount of output that exceeded the limits and is
// not recorded.
type OutputDroppedContent struct {
	Bytes    int64  `json:"bytes"`
	Messages int64  `json:"messages"`
	Reason   string `json:"reason,omitempty"` // one sentence, if the server refused one output of a command
}

// InputRequestContent is the content of input_request: the code of a cell waits for a line of text.
type InputRequestContent struct {
	Prompt   string `json:"prompt"`
	Password bool   `json:"password"` // if true, do not show the typed text
}

// InputReplyContent is the content of input_reply: a caller answered an input_request. The answer is not stored.
type InputReplyContent struct {
	Request int64 `json:"request"` // number of the input_request event
}

// CellDoneContent is the content of cell_done. It is the last event of a cell, except for late output.
type CellDoneContent struct {
	Status         CellStatus `json:"status"`
	Cause          string     `json:"cause,omitempty"` // one sentence that explains the status, if it needs one
	ExecutionCount int        `json:"execution_count,omitempty"`
	FilesChanged   bool       `json:"files_changed,omitempty"` // files in /mnt/data/output changed
	Files          []CellFile `json:"files,omitempty"`         // files below /workspace and /mnt/data/output that were written while the cell ran
	MoreFiles      bool       `json:"more_files,omitempty"`    // more files were written than Files lists
	Usage          *Usage     `json:"usage,omitempty"`
}

// SessionEndedContent is the content of session_ended, the last event of a session.
type SessionEndedContent struct {
	Reason EndReason `json:"reason"`
}

// NewEvent returns an event with the given content. The journal sets Seq and Time. If the content cannot be
// encoded, NewEvent panics, because the caller has a bug.
func NewEvent(t EventType, k KernelID, c CellID, content any) Event {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(fmt.Sprintf("content of %s: %v", t, err))
	}
	return Event{Type: t, Kernel: k, Cell: c, Content: raw}
}

// Decode decodes the content into content, a pointer to the struct that belongs to the event's type.
func (e Event) Decode(content any) error {
	if err := json.Unmarshal(e.Content, content); err != nil {
		return fmt.Errorf("content of event %d (%s): %w", e.Seq, e.Type, err)
	}
	return nil
}

// Output is one output of a cell in notebook form: output_type, and the fields that nbformat 4.5 gives to
// that type. The JSON has all fields of the type, including empty ones.
type Output struct {
	Type           EventType                  `json:"output_type" enum:"stream,display_data,execute_result,error" doc:"Type of the output."`
	Name           string                     `json:"name,omitempty" doc:"stdout or stderr. Always present for stream."`
	Text           string                     `json:"text,omitempty" doc:"Text. Always present for stream."`
	Data           map[string]json.RawMessage `json:"data,omitempty" doc:"Result by MIME type. Always present for display_data and execute_result. A value is text. If the type is application/json or ends with +json, the value can be any JSON."`
	Metadata       map[string]json.RawMessage `json:"metadata,omitempty" doc:"Metadata by MIME type or name. Always present for display_data and execute_result."`
	ExecutionCount int                        `json:"execution_count,omitempty" doc:"Number in the kernel's prompt, or null. Always present for execute_result."`
	ErrorName      string                     `json:"ename,omitempty" doc:"Class of the exception. Always present for error."`
	ErrorValue     *string                    `json:"evalue,omitempty" doc:"Text of the exception. Always present for error."`
	Traceback      []string                   `json:"traceback,omitempty" doc:"Traceback with ANSI colours. Always present for error."`

	// The fields below are not part of nbformat.
	DisplayID string `json:"display_id,omitempty" doc:"Id of a display that later code can update (display_data, execute_result)."`
	Truncated bool   `json:"truncated,omitempty" doc:"True if text has only the beginning and the end (stream)."`
	Bytes     int64  `json:"bytes,omitempty" doc:"Bytes of the whole text, if truncated."`
	Omitted   int64  `json:"omitted,omitempty" doc:"Bytes that are missing, if truncated."`
}

// MarshalJSON writes all fields that nbformat gives to the output's type, including empty ones. For an unknown
// type, it leaves empty fields out.
//
// A field of the outer struct replaces the embedded field with the same JSON key, which has omitempty.
func (o Output) MarshalJSON() ([]byte, error) {
	type plain Output // has no MarshalJSON, which would call itself
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
	e.SetEscapeHTML(false) // the outer encoder escapes where needed
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

// Exception returns the class and the text of the exception of an error output, as Python prints them.
func (o Output) Exception() string {
	if o.ErrorValue == nil || *o.ErrorValue == "" {
		return o.ErrorName
	}
	return o.ErrorName + ": " + *o.ErrorValue
}
