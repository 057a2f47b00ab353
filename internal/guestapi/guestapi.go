// Package guestapi is the contract between host and guest: paths, types, bounds and the version of
// the HTTP that the agent serves over the link. It has no behaviour.
//
// The link, as a list:
//
//	GET    /health                         → 200, empty: the agent is there
//	GET    /v1/info                        → Info
//	GET    /v1/kernelspecs                 → []cellhold.KernelSpec: the sorts of kernel that are installed
//	PUT    /v1/kernels/{kernel}            StartKernel → 202; 200 when that kernel is there already
//	DELETE /v1/kernels/{kernel}            → 204; shuts the kernel down, also when it is busy
//	POST   /v1/kernels/{kernel}/execute    Execute → 202; the same cell again is 200 and runs nothing
//	POST   /v1/kernels/{kernel}/interrupt?cell=C → 202; nothing runs is no error; with a cell, no other
//	                                       than that one is interrupted
//	POST   /v1/kernels/{kernel}/input      InputReply → 202; 409 when nothing is asked, or something else
//	POST   /v1/kernels/{kernel}/restart    → 202; the kernel process is replaced, also a dead one
//	GET    /v1/kernels/{kernel}/events?after=N   → 200, one Event a line (NDJSON), for ever; who asks to
//	                                       upgrade to Talk gets 101, may then send Executes, one a line,
//	                                       and has a TalkLine for each among the events
//	POST   /v1/kernels/{kernel}/ack?seq=N  → 204; events up to N may be forgotten
//	POST   /v1/kernels/{kernel}/prepare    Prepare → Prepared, when its code has run; for a kernel that is idle
//	POST   /v1/renew                       Renew → Info, when all kernels have been renewed
//	GET    /v1/output                      → []File below /mnt/data/output, regular files only
//	GET    /v1/output/file?path=P          → the bytes
//	PUT    /v1/output/file?path=P          the bytes → 204
//	PUT    /v1/commands/{command}          StartCommand → 202; the same command again is 200 and runs nothing
//	DELETE /v1/commands/{command}          → 204; kills the command and what it started; 204 also when it is over
//	POST   /v1/commands/{command}/stdin?offset=N&eof=true   bytes → Input; those before offset were taken already
//	POST   /v1/commands/{command}/signal   Signal → 202
//	POST   /v1/commands/{command}/resize   cellhold.Terminal → 202
//	GET    /v1/commands/events?after=N     → 200, one Event a line, of all commands, for ever
//	POST   /v1/commands/ack?seq=N          → 204; events up to N, and commands that ended there, may be forgotten
//	PUT    /v1/ways/{way}                  Way → Proxy; opens a way out, or changes one that is open
//	DELETE /v1/ways/{way}                  → 204; nothing gets out that way any more
//	POST   /v1/ways/{way}/next             → 101; from here on the connection belongs to the next
//	                                       program in the guest that wants out: the guest sends an
//	                                       Ask, the host an Answer, one line of JSON each, and then
//	                                       bytes flow in both directions
//	*      /v1/files…                      → see files.go
//	POST   /v1/packages                    Install → Installed, when it has ended; hanging up ends it
//	POST   /v1/packages/look               Install → Installed, without changing anything: InstallOK means that
//	                                       all is there already
//	GET    /v1/packages/ask                → Question, the installer's next question; 204 when there is none yet
//	PUT    /v1/packages/answer?ask=N&status=S&type=T   the bytes → 204
//	POST   /v1/packages/requests           → 101; from here on the connection belongs to the next program in the
//	                                       guest that asks for packages: it sends a CodeRequest, the host
//	                                       CodeLines, one line of JSON each
//
// Errors are a Problem with a fitting status: 400 bad request, 404 no such kernel or file, 409 not
// in this state, 413 too large, 500 the agent's own fault, 501 unsupported, 503 unavailable.
package guestapi

import (
	"cellhold"
	"encoding/json"
	"time"
)

// Version is the version of this contract. The host speaks it and the one before.
//
//	1  2026-11: the beginning
//	2  2026-11: commands, kernelspecs, interrupts that name a cell, input, ways out, files, packages
//	3  2026-11: renewal of restored sandboxes, preparation of kernels, requests of code for packages
const Version = 3

// Bounds that both sides keep. The host checks all of them, because the guest is not trusted.
const (
	// MaxEvent is the most bytes of one encoded event: enough for a large plotly figure or image,
	// small enough that a line can be held in memory for each session.
	MaxEvent = 16 << 20
	// MaxStream is the most bytes of text in one stream event; longer text is cut into several,
	// so that readers see progress and nobody has to hold a 1 GiB line.
	MaxStream = 128 << 10
	// MaxCode is the most bytes of a cell's code.
	MaxCode = 4 << 20
	// MaxAnswer is the most bytes of an answer to input(), and MaxPrompt of the question: lines that
	// a person reads and types, with room for who pastes a document.
	MaxAnswer = 1 << 20
	MaxPrompt = 4 << 10
	// MaxKernelSpecs bounds the list of kernelspecs; an image has a handful.
	MaxKernelSpecs = 100
	// SpoolBytes bounds the events that the agent keeps for a host that does not read. Beyond it,
	// stream text and displays are dropped, counted and reported; states and ends never are.
	SpoolBytes = 32 << 20
	// MaxFiles bounds the files that the agent lists below /mnt/data/output.
	MaxFiles = 1000
	// MaxPath is the most bytes of a file's path there, and MaxDepth its most components.
	MaxPath  = 1024
	MaxDepth = 16
)

// OutputDir is where guests put the files that outlive the session.
const OutputDir = "/mnt/data/output"

// Info says who the agent is and what it has.
type Info struct {
	Version int          `json:"version"`
	Boot    string       `json:"boot"` // random, one for each life of an agent
	Kernels []KernelInfo `json:"kernels"`

	// Commands are those that run, and those whose end has not been acknowledged.
	Commands []cellhold.CommandID `json:"commands"`
}

// KernelInfo is the state of one kernel as the agent sees it.
type KernelInfo struct {
	ID    cellhold.KernelID    `json:"id"`
	State cellhold.KernelState `json:"state"`
	Cell  cellhold.CellID      `json:"cell,omitempty"` // the running one
	Last  int64                `json:"last"`           // number of the newest event

	// Strange counts messages that were dropped because they belonged to nothing or made no sense.
	Strange int64 `json:"strange,omitempty"`
}

// StartKernel asks for a kernel.
type StartKernel struct {
	Spec    string            `json:"spec"`              // name of the kernelspec, "python3"
	Startup string            `json:"startup,omitempty"` // code run silently after every start
	Env     map[string]string `json:"env,omitempty"`     // added to the kernelspec's own
}

// Prepare has a kernel run code that belongs to no cell: silently, without a number in the prompt. It
// is how templates warm up, and how a kernel that was started before its session gets the session's
// startup code.
type Prepare struct {
	Code    string        `json:"code"`
	Timeout time.Duration `json:"timeout"` // nanoseconds; must be positive

	// Startup makes the code run again after every restart of the kernel, in place of what ran before.
	Startup bool `json:"startup,omitempty"`
}

// Prepared says how that went.
type Prepared struct {
	Error string `json:"error,omitempty"` // one sentence when the code raised or was stopped at its deadline
}

// Renew makes a sandbox that continues from a snapshot differ from all others that do: a new Boot,
// events numbered from 1 with one kernel_state for each kernel as the first, nothing kept of what was
// before. In the kernels, the seeds of random number generators, the Jupyter session and its key are
// fresh, as far as the kernelspec has code for that. No cell and no command may be running. No user code runs
// before it has answered. A kernel that is dead stays so; one that should be renewed and cannot be is an
// error, with status 503, and the sandbox is then of no use as a copy.
type Renew struct {
	Timeout time.Duration `json:"timeout"` // for each kernel, nanoseconds; must be positive
}

// Execute asks for one cell. The deadline is kept by the agent, so that it holds also while no
// server runs.
type Execute struct {
	Cell    cellhold.CellID `json:"cell"`
	Code    string          `json:"code"`
	Timeout time.Duration   `json:"timeout"` // nanoseconds; must be positive

	// AllowStdin lets the code ask for input, by an input_request event.
	AllowStdin bool `json:"allow_stdin,omitempty"`

	// Figures go to the kernel in the metadata of the request, for it to heed or not.
	Figures *cellhold.Figures `json:"figures,omitempty"`
}

// Talk names the protocol of a connection on which events come and cells are handed over.
const Talk = "cellhold-talk"

// TalkLine is a line on such a connection that is no event. It begins with TalkPrefix.
type TalkLine struct {
	Taken *Taken `json:"taken"`
}

// TalkPrefix tells a TalkLine from an event.
const TalkPrefix = `{"taken":`

// Taken says what became of a cell that was handed over, in the words of HTTP: the status and the
// problem that a request to execute it would have had.
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

// Event is one numbered fact about a kernel, numbered by the agent from 1 without gaps within one
// Boot. Types and contents are those of cellhold.Event; cell_queued, command_started and
// session_ended are the host's own and refused from the guest. All commands share one numbering.
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

// Way is a way out of the sandbox: a proxy on its loopback, whose connections the host makes. There
// is none until the host opens one. The one named SessionWay is that of all kernels and commands.
type Way struct {
	Token string            `json:"token,omitempty"` // password that users of the proxy must give; empty means none
	Env   map[string]string `json:"env,omitempty"`   // for kernels and commands, beside the variables that name the proxy
	Trust string            `json:"trust,omitempty"` // PEM of a certificate authority that they trust too
}

// SessionWay is the way out of all kernels and commands of a session.
const SessionWay = "session"

// Proxy says where a way begins.
type Proxy struct {
	Port int `json:"port"` // on the sandbox's loopback
}

// Ask is the first line on a connection of a way.
type Ask struct {
	Host string `json:"host"` // as the program in the guest wrote it
	Port int    `json:"port"`
}

// Answer is the second line, from the host.
type Answer struct {
	Refused bool   `json:"refused,omitempty"` // by the policy
	Error   string `json:"error,omitempty"`   // one sentence; empty means that bytes flow from here on
}

// MaxLine is the most bytes of an Ask or an Answer.
const MaxLine = 2048

// Upgrade names the protocol of connections of a way.
const Upgrade = "cellhold-way"

// Problem is the body of every error answer.
type Problem struct {
	Error string `json:"error"` // one sentence
}
