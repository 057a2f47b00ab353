// Package guestapi is the contract between host and guest: paths, types, bounds and the version of the HTTP
// API that the agent serves over the link. It has no behaviour.
//
// The routes of the link:
//
//	GET    /health                         → 200, empty: the agent is there
//	GET    /v1/info                        → Info
//	GET    /v1/kernelspecs                 → []cellhold.KernelSpec: the kernels that are installed
//	PUT    /v1/kernels/{kernel}            StartKernel → 202; 200 if the kernel exists already
//	DELETE /v1/kernels/{kernel}            → 204; shuts the kernel down, also a busy one
//	POST   /v1/kernels/{kernel}/execute    Execute → 202; the same cell again gets 200 and is not run again
//	POST   /v1/kernels/{kernel}/interrupt?cell=C → 202, also if no cell runs; with a cell, only that
//	                                       cell is interrupted
//	POST   /v1/kernels/{kernel}/input      InputReply → 202; 409 if the code asks for no input, or asks another question
//	POST   /v1/kernels/{kernel}/restart    → 202; the kernel process is replaced, also a dead one
//	GET    /v1/kernels/{kernel}/events?after=N   → 200, one Event per line (NDJSON), endless; a request to
//	                                       upgrade to Talk gets 101. Then the host can send Executes, one
//	                                       per line, and gets a TalkLine for each among the events
//	POST   /v1/kernels/{kernel}/ack?seq=N  → 204; the agent can forget events up to N
//	POST   /v1/kernels/{kernel}/prepare    Prepare → Prepared, when its code has run; for an idle kernel
//	POST   /v1/renew                       Renew → Info, when all kernels have been renewed
//	GET    /v1/output                      → []File below /mnt/data/output, regular files only
//	GET    /v1/output/file?path=P          → the bytes
//	PUT    /v1/output/file?path=P          the bytes → 204
//	PUT    /v1/commands/{command}          StartCommand → 202, Started; the same command again gets 200 and is not run again
//	DELETE /v1/commands/{command}          → 204; kills the command and its processes; 204 also if it has ended
//	POST   /v1/commands/{command}/stdin?offset=N&eof=true   bytes → Input; bytes before offset were received already
//	POST   /v1/commands/{command}/signal   Signal → 202
//	POST   /v1/commands/{command}/resize   cellhold.Terminal → 202
//	GET    /v1/commands/events?after=N     → 200, one Event per line, of all commands, endless
//	POST   /v1/commands/ack?seq=N          → 204; the agent can forget events up to N, and commands that ended there
//	PUT    /v1/ways/{way}                  Way → Proxy; opens an egress proxy, or changes an open one
//	DELETE /v1/ways/{way}                  → 204; closes an egress proxy
//	POST   /v1/ways/{way}/next             → 101; from here on the connection belongs to the next
//	                                       program in the guest that uses the proxy: the guest sends an
//	                                       Ask, the host an Answer, one line of JSON each, and then
//	                                       bytes flow in both directions
//	POST   /v1/ports/{port}                → see port.go
//	GET    /v1/kernels/{kernel}/wire       → see wire.go
//	*      /v1/files…                      → see files.go
//	POST   /v1/packages                    Install → Installed, when it has ended; a disconnect ends it
//	POST   /v1/packages/look               Install → Installed, without a change: InstallOK means that
//	                                       the requirements are met
//	GET    /v1/packages/ask                → Question, the installer's next question; 204 if there is none yet
//	PUT    /v1/packages/answer?ask=N&status=S&type=T   the bytes → 204
//	POST   /v1/packages/requests           → 101; from here on the connection belongs to the next program in the
//	                                       guest that asks for packages: it sends a CodeRequest, the host
//	                                       CodeLines, one line of JSON each
//
// Errors are a Problem with one of these statuses: 400 bad request, 404 kernel or file not found, 409 wrong
// state, 413 too large, 500 failure of the agent, 501 unsupported, 503 unavailable. The routes of files also use 403
// permission denied.
package guestapi

import (
	"cellhold"
	"encoding/json"
	"time"
)

// Version is the version of this contract. The host supports it and the version before it.
//
//	1  2026-11: first version
//	2  2026-11: commands, kernelspecs, interrupts that name a cell, input, egress proxies, files, packages
//	3  2026-11: renewal of restored sandboxes, preparation of kernels, requests of code for packages
//	4  2026-11: wires for raw messages of kernels, cells with the request of a client
//	5  2026-11: directories of kernels, code before and after a cell, process ids of commands
//	6  2026-11: a cell whose message id was used before is refused as a bad request, so the host does not send it again
//	7  2026-11: connections to ports of the sandbox
const Version = 7

// Bounds of requests and lists that both sides keep. Those of events are in bounds.go. The host checks all of them,
// because it does not trust the guest.
const (
	// MaxCode is the limit of a cell's code in bytes.
	MaxCode = 4 << 20
	// MaxAnswer is the limit of an answer to input() in bytes. A person types it, or pastes a document.
	MaxAnswer = 1 << 20
	// MaxKernelSpecs bounds the list of kernelspecs. An image has a handful.
	MaxKernelSpecs = 100
	// SpoolBytes bounds the events that the agent keeps for a host that does not read. Beyond it, stream
	// text and displays are dropped, counted and reported. States and ends are always kept.
	SpoolBytes = 32 << 20
	// MaxFiles bounds the files that the agent lists below /mnt/data/output.
	MaxFiles = 1000
	// MaxPath is the limit of a file's path below OutputDir in bytes, and MaxDepth that of its components.
	MaxPath  = 1024
	MaxDepth = 16
)

// OutputDir is the guest's directory for files that outlive the session.
const OutputDir = "/mnt/data/output"

// Info describes the agent, its kernels and its commands.
type Info struct {
	Version int          `json:"version"`
	Boot    string       `json:"boot"` // random; differs for each start and each renewal of an agent
	Kernels []KernelInfo `json:"kernels"`

	// Commands lists the commands that run, and those whose end is not acknowledged.
	Commands []cellhold.CommandID `json:"commands"`
}

// KernelInfo is the state of one kernel as the agent sees it.
type KernelInfo struct {
	ID    cellhold.KernelID    `json:"id"`
	State cellhold.KernelState `json:"state"`
	Cell  cellhold.CellID      `json:"cell,omitempty"` // the running one
	Last  int64                `json:"last"`           // number of the newest event

	// Strange counts messages of the kernel that were dropped, because they belong to no request or are
	// malformed.
	Strange int64 `json:"strange,omitempty"`
}

// StartKernel asks for a kernel.
type StartKernel struct {
	Spec    string            `json:"spec"`              // name of the kernelspec, "python3"
	Startup string            `json:"startup,omitempty"` // runs silently after every start
	Env     map[string]string `json:"env,omitempty"`     // added to the variables of the kernelspec
	Dir     string            `json:"dir,omitempty"`     // working directory; empty means WorkDir
}

// Prepare runs code that belongs to no cell in a kernel: silently, without a prompt number. Templates use it to
// prepare their kernels. A kernel that was started before its session gets the session's startup code with it.
type Prepare struct {
	Code    string        `json:"code"`
	Timeout time.Duration `json:"timeout"` // nanoseconds; must be positive

	// Startup makes the code run again after every restart of the kernel, in place of the earlier startup
	// code.
	Startup bool `json:"startup,omitempty"`

	// Env and Dir replace those of StartKernel for later processes of the kernel. The code must change the
	// present process. They are ignored if both are empty.
	Env map[string]string `json:"env,omitempty"`
	Dir string            `json:"dir,omitempty"`
}

// Prepared is the result of a preparation.
type Prepared struct {
	Error string `json:"error,omitempty"` // one sentence if the code raised an exception or was stopped at its deadline
}

// Renew makes a sandbox that continues from a snapshot different from the other sandboxes of the snapshot. The
// agent gets a new Boot and forgets its earlier events. New events are numbered from 1, and begin with one
// kernel_state for each kernel. If the kernelspec has code for this, its kernels get new seeds of random number
// generators, a new Jupyter session and a new key. No cell and no command can be running, and no user code
// runs before the answer. A dead kernel stays dead. If a kernel cannot be renewed, the answer is an error with
// status 503, and no session can use the sandbox.
type Renew struct {
	Timeout time.Duration `json:"timeout"` // for each kernel, nanoseconds; must be positive
}

// Execute asks for one cell. The agent enforces the timeout, so the timeout also holds while no server runs.
type Execute struct {
	Cell    cellhold.CellID `json:"cell"`
	Code    string          `json:"code"`
	Timeout time.Duration   `json:"timeout"` // nanoseconds; must be positive

	// AllowStdin lets the code ask for input, with an input_request event.
	AllowStdin bool `json:"allow_stdin,omitempty"`

	// Before and After run silently before and after the code, and no other code of the kernel runs between
	// them. Their output is dropped. After also runs when the code fails or is interrupted. An agent before
	// version 5 ignores them.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`

	// Figures are passed to the kernel in the metadata of the request. The kernel can ignore them.
	Figures *cellhold.Figures `json:"figures,omitempty"`

	// Request has parts of the request of a Jupyter client that the cell comes from. It is nil for all other
	// cells. An agent before version 4 ignores it.
	Request *ExecuteRequest `json:"request,omitempty"`
}

// Talk is the protocol of a connection on which events are sent and cells are submitted.
const Talk = "cellhold-talk"

// TalkLine is a line on a connection with the protocol Talk that is not an event. It begins with TalkPrefix.
type TalkLine struct {
	Taken *Taken `json:"taken"`
}

// TalkPrefix distinguishes a TalkLine from an event.
const TalkPrefix = `{"taken":`

// Taken is the answer to a submitted cell: the HTTP status and the error that the route execute would have
// returned.
type Taken struct {
	Cell   cellhold.CellID `json:"cell"`
	Status int             `json:"status"`
	Error  string          `json:"error,omitempty"`
}

// InputReply answers a question of the running cell.
type InputReply struct {
	Cell    cellhold.CellID `json:"cell"`
	Request int64           `json:"request"` // number of the input_request event
	Value   string          `json:"value"`
}

// Event is one event of a kernel or a command. The agent numbers events from 1 without gaps within one
// Boot; all commands share one numbering. Types and contents are those of cellhold.Event. The host makes
// cell_queued, command_started and session_ended itself and does not accept them from the guest. A note replaces
// an event that the host refuses. The fields before Content are first, so that the host can read them alone.
type Event struct {
	Seq     int64              `json:"seq"`
	Time    time.Time          `json:"time"`
	Cell    cellhold.CellID    `json:"cell,omitempty"`
	Command cellhold.CommandID `json:"command,omitempty"`
	Type    cellhold.EventType `json:"type"`
	Content json.RawMessage    `json:"content"`
}

// File is one regular file below OutputDir.
type File struct {
	Path     string    `json:"path"` // relative, slash-separated, clean
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// Way is an egress proxy: a proxy on the loopback of the sandbox, whose connections the host makes. A
// sandbox has no proxy until the host opens one. The proxy named SessionWay is for all kernels and commands.
type Way struct {
	Token string            `json:"token,omitempty"` // password that users of the proxy must give; empty means none
	Env   map[string]string `json:"env,omitempty"`   // for kernels and commands, in addition to the variables that name the proxy
	Trust string            `json:"trust,omitempty"` // PEM of an additional certificate authority for programs
}

// SessionWay is the egress proxy of all kernels and commands of a session.
const SessionWay = "session"

// Proxy is the address of an egress proxy.
type Proxy struct {
	Port int `json:"port"` // on the sandbox's loopback
}

// Ask is the first line on a connection of an egress proxy.
type Ask struct {
	Host string `json:"host"` // as the program in the guest wrote it
	Port int    `json:"port"`
}

// Answer is the second line on a connection of an egress proxy: the host's answer to the Ask.
type Answer struct {
	Refused bool   `json:"refused,omitempty"` // by the policy
	Error   string `json:"error,omitempty"`   // one sentence; empty means that bytes flow from here on
}

// MaxLine is the limit of an Ask or an Answer in bytes.
const MaxLine = 2048

// Upgrade is the protocol of connections of an egress proxy.
const Upgrade = "cellhold-way"

// Problem is the body of every error answer.
type Problem struct {
	Error string `json:"error"` // one sentence
}
