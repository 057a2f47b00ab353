package guestapi

import "encoding/json"

// The route of raw messages. It continues the list in guestapi.go:
//
//	GET    /v1/kernels/{kernel}/wire       → 101; from here on the connection is a wire
//
// A wire carries the frames of package jupyter/stream in both directions. The agent sends every message of the
// kernel, except the answers to its own requests. The host sends messages on shell, control and stdin. Headers,
// metadata and content stay as they are. Only values of more than 90 levels are cut, and bytes that are not UTF-8 are
// replaced. The agent refuses an execute_request, because executions are cells. It also refuses a header in which a
// name occurs twice, because readers differ in which one they use. A wire stays open when the kernel
// restarts. It ends with the kernel, and when the sandbox is renewed.
//
// On channel 5 the agent sends notes. The content of a note is a WireNote.

// Bounds of wires.
const (
	// MaxWires is the limit of wires of one kernel.
	MaxWires = 16
	// MaxWireMessage is the limit of one message on a wire in bytes, without the sizes of its parts.
	MaxWireMessage = 2 * MaxEvent
	// MaxWireHeader is the limit of a header or a parent header on a wire, in bytes. Real headers have about 250
	// bytes.
	MaxWireHeader = 16 << 10
	// WireBytes bounds the messages that wait for the host on one wire, in bytes. It has space for one message
	// of any size, and 8 MiB of other messages. When the queue is full, the agent closes the wire. In the other
	// direction, WireBytes bounds the messages of all wires that wait for a kernel; over ZeroMQ, for each channel. When
	// more would wait, the agent refuses the message.
	WireBytes = MaxWireMessage + 8<<20
	// MaxClientHeader is the limit of the header in an ExecuteRequest, in bytes.
	MaxClientHeader = 1 << 10
	// MaxClientPart is the limit of the metadata in an ExecuteRequest, and of its user expressions, in bytes.
	MaxClientPart = 64 << 10
)

// WireUpgrade is the protocol of a wire.
const WireUpgrade = "cellhold-wire"

// WireMessage is one message on a wire. The parts before Buffers are JSON objects. An empty part means {}.
type WireMessage struct {
	Channel  string // shell, control, stdin or iopub
	Header   json.RawMessage
	Parent   json.RawMessage
	Metadata json.RawMessage
	Content  json.RawMessage
	Buffers  [][]byte

	// Problem says why the agent did not pass a message on; otherwise it is empty. Then the message has no
	// metadata, content and buffers. If the agent refused a message of the host, Parent is the header of that
	// message. If a message of the kernel was left out, Header and Parent are those of that message, or {}.
	Problem string
}

// WireNote is the content of a note. The header and the parent header of the note are those of the WireMessage.
type WireNote struct {
	Channel string `json:"channel,omitempty"` // of the message that was not passed on; empty in the last note
	Problem string `json:"problem"`           // one sentence
	Last    bool   `json:"last,omitempty"`    // the agent closes the wire
}

// ExecuteRequest has the parts of a client's execute_request. Without it, the agent makes these parts.
type ExecuteRequest struct {
	// Header is the client's header, a JSON object of at most MaxClientHeader bytes. The kernel gets these
	// bytes. Its msg_id is the id of the request, and must differ from those of the kernel's recent cells. Its
	// names must differ, also without case. If Header is empty, the agent makes a header.
	Header []byte `json:"header,omitempty"`
	// Metadata is a JSON object of at most MaxClientPart bytes. Empty means none.
	Metadata json.RawMessage `json:"metadata,omitempty"`

	// Silent runs the code without an execution count, and without execute_input and results.
	Silent bool `json:"silent,omitempty"`
	// StoreHistory lets the kernel store the code in its history, and count the execution.
	StoreHistory bool `json:"store_history,omitempty"`
	// UserExpressions is a JSON object of at most MaxClientPart bytes, with expressions that the kernel
	// evaluates after the code. Empty means none.
	UserExpressions json.RawMessage `json:"user_expressions,omitempty"`
}
