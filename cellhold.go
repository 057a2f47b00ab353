// Package cellhold holds the nouns that every room of the house speaks: sessions, kernels, cells,
// events, outputs and the kinds of error. It starts nothing and imports only the standard library.
package cellhold

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"
)

// SessionID names a session for ever: 's' and 16 letters or digits. Ids are random (80 bits), so
// knowing one id tells nothing about another, and all have the same length.
type SessionID string

// CellID names a cell for ever: 'c' and 16 letters or digits.
type CellID string

// KernelID names a kernel within its session, such as "python3".
type KernelID string

// NewSessionID returns a fresh random id.
func NewSessionID() SessionID { return SessionID("s" + randomName()) }

// NewCellID returns a fresh random id.
func NewCellID() CellID { return CellID("c" + randomName()) }

// randomName returns 16 characters of base 32, which are 80 random bits.
func randomName() string { return strings.ToLower(rand.Text()[:16]) }

// SessionState is where a session is in its life.
type SessionState string

// The states of a session, in the order of a life.
const (
	SessionStarting   SessionState = "starting"
	SessionReady      SessionState = "ready"
	SessionHibernated SessionState = "hibernated"
	SessionEnded      SessionState = "ended"
)

// EndReason says why a session ended.
type EndReason string

// The reasons for the end of a session.
const (
	EndAsked   EndReason = "asked"   // its owner ended it
	EndExpired EndReason = "expired" // idle for too long, or older than a session may be
	EndFailed  EndReason = "failed"  // it never became ready
	EndLost    EndReason = "lost"    // its sandbox was gone when the server came back
)

// Session is what a caller owns: one sandbox, its kernels, files and events.
type Session struct {
	ID      SessionID         `json:"id" doc:"Identifies the session." example:"sk3v7q2m9xw4tz6hb"`
	User    string            `json:"user,omitempty" doc:"Label of the person or agent it belongs to, as given at creation. Never a path."`
	State   SessionState      `json:"state" enum:"starting,ready,hibernated,ended" doc:"Where the session is in its life."`
	Reason  EndReason         `json:"reason,omitempty" enum:"asked,expired,failed,lost" doc:"Why it ended."`
	Image   string            `json:"image" doc:"Name of the image its sandbox was made from." example:"python"`
	Startup string            `json:"startup,omitempty" doc:"Code that runs silently when the kernel has started, and again after each restart."`
	Figures *Figures          `json:"figures,omitempty" doc:"How the figures of its cells are drawn, where the cell does not say."`
	Created time.Time         `json:"created" doc:"When it was created."`
	Used    time.Time         `json:"used" doc:"When a caller or a cell last used it."`
	Expires time.Time         `json:"expires" doc:"When it ends at the latest if nothing uses it until then."`
	Limits  Limits            `json:"limits" doc:"What its sandbox may use."`
	Egress  Egress            `json:"egress" doc:"What its code may reach outside the sandbox."`
	Secrets []SecretInfo      `json:"secrets,omitempty" doc:"Its secrets, without their values."`
	Kernels []Kernel          `json:"kernels" doc:"Its kernels."`
	Meta    map[string]string `json:"metadata,omitempty" doc:"The caller's own notes, kept and given back unchanged."`

	Template   string    `json:"template,omitempty" doc:"The template it was made from."`
	Parent     SessionID `json:"parent,omitempty" doc:"The session it was forked from."`
	Checkpoint string    `json:"checkpoint,omitempty" doc:"The checkpoint it was last rolled back to."`

	Packages []Package `json:"packages,omitempty" doc:"Packages that were installed in it and are not as the image has them. They end with its sandbox."`
}

// Limits is what a session's sandbox may use. Zero means the server's default.
type Limits struct {
	Memory    int64   `json:"memory,omitempty" minimum:"0" doc:"Bytes of memory, tmpfs included; in a request also a text such as \"2GiB\"." example:"1073741824"`
	CPU       float64 `json:"cpu,omitempty" minimum:"0" doc:"Processor cores; 0.5 is half of one." example:"1"`
	Processes int     `json:"processes,omitempty" minimum:"0" doc:"Processes and threads at once." example:"256"`
	Disk      int64   `json:"disk,omitempty" minimum:"0" doc:"Bytes that may be written outside /tmp and /mnt/data/output; in a request also a text such as \"2GiB\"." example:"1073741824"`
	Tmp       int64   `json:"tmp,omitempty" minimum:"0" doc:"Bytes of /tmp; in a request also a text such as \"2GiB\"." example:"268435456"`
	Output    int64   `json:"output,omitempty" minimum:"0" doc:"Bytes of /mnt/data/output; in a request also a text such as \"2GiB\"." example:"268435456"`
}

// KernelState is what a kernel is doing, in Jupyter's own words.
type KernelState string

// The states of a kernel.
const (
	KernelStarting   KernelState = "starting"
	KernelIdle       KernelState = "idle"
	KernelBusy       KernelState = "busy"
	KernelRestarting KernelState = "restarting"
	KernelDead       KernelState = "dead"
)

// Kernel is one Jupyter kernel process of a session.
type Kernel struct {
	ID       KernelID    `json:"id" doc:"Identifies the kernel within its session." example:"python3"`
	Spec     string      `json:"spec,omitempty" doc:"The kernelspec it was started from." example:"python3"`
	Language string      `json:"language,omitempty" doc:"What it speaks." example:"python"`
	State    KernelState `json:"state" enum:"starting,idle,busy,restarting,dead" doc:"What it is doing."`
	Cause    CellStatus  `json:"cause,omitempty" enum:"oom,signal,exit,lost,timeout" doc:"How it died, when it is dead."`
	Queued   int         `json:"queued" doc:"Cells that wait for it."`
}

// Template is a recipe of sessions that start fast, because one was started, warmed up and saved
// beforehand.
type Template struct {
	Name     string   `json:"name" doc:"What to ask for." example:"python"`
	Image    string   `json:"image" doc:"The image of its sessions." example:"python"`
	Limits   Limits   `json:"limits" doc:"What its sessions may use where they do not say."`
	Egress   Egress   `json:"egress" doc:"What its sessions may reach where they do not say."`
	Packages []string `json:"packages,omitempty" doc:"Requirements that are installed in it." example:"[\"polars\"]"`
	Warmup   string   `json:"warmup,omitempty" doc:"Code that has run in it."`
	Warm     int      `json:"warm" doc:"Sandboxes that are to be kept ready." example:"2"`
	Ready    int      `json:"ready" doc:"Sandboxes that are ready now."`

	State   TemplateState `json:"state" enum:"building,ready,failed" doc:"Whether its sessions start from a snapshot; meanwhile they start cold."`
	Problem string        `json:"problem,omitempty" doc:"Why there is no snapshot, when making it failed."`
	Built   time.Time     `json:"built,omitzero" doc:"When its snapshot was made."`
	Size    int64         `json:"size,omitempty" doc:"Bytes of its snapshot on disk."`
}

// TemplateState says whether a template has a snapshot.
type TemplateState string

// The states of a template.
const (
	TemplateBuilding TemplateState = "building"
	TemplateReady    TemplateState = "ready"
	TemplateFailed   TemplateState = "failed"
)

// Checkpoint is a saved state of a session that it can be rolled back to.
type Checkpoint struct {
	Name    string    `json:"name" doc:"Its name within the session." example:"before-the-join"`
	Created time.Time `json:"created" doc:"When it was made."`
	Size    int64     `json:"size" doc:"Bytes on disk."`
	Last    int64     `json:"last" doc:"Number of the session's newest event then."`
}

// KernelSpec is a sort of kernel that an image has.
type KernelSpec struct {
	Name        string `json:"name" doc:"What to ask for to get such a kernel." example:"bash"`
	DisplayName string `json:"display_name,omitempty" doc:"Its name for people." example:"Bash"`
	Language    string `json:"language,omitempty" doc:"What it speaks." example:"bash"`
}

// CellState is where a cell is in its life.
type CellState string

// The states of a cell, in order.
const (
	CellQueued  CellState = "queued"
	CellRunning CellState = "running"
	CellDone    CellState = "done"
)

// CellStatus is how a cell ended.
type CellStatus string

// The ways a cell ends. The last four say how its kernel died under it.
const (
	StatusOK          CellStatus = "ok"
	StatusError       CellStatus = "error"       // the code raised
	StatusInterrupted CellStatus = "interrupted" // a caller stopped it
	StatusTimeout     CellStatus = "timeout"     // its deadline passed
	StatusCancelled   CellStatus = "cancelled"   // it never ran
	StatusOOM         CellStatus = "oom"         // memory ran out
	StatusSignal      CellStatus = "signal"      // a signal ended the kernel
	StatusExit        CellStatus = "exit"        // the kernel exited
	StatusLost        CellStatus = "lost"        // the sandbox is gone
)

// OnError says what becomes of the cells that wait behind one that does not end well.
type OnError string

// What can become of them. Empty means OnErrorContinue.
const (
	OnErrorContinue OnError = "continue" // they run in their turn
	OnErrorCancel   OnError = "cancel"   // those that wait at that moment are cancelled
)

// InputRequest is a question of a cell's code that waits for its answer.
type InputRequest struct {
	Request  int64  `json:"request" doc:"Number of the input_request event; give it with the answer, so that it answers no other question."`
	Prompt   string `json:"prompt" doc:"What the code shows to whoever is asked."`
	Password bool   `json:"password" doc:"Whether what is typed should not be shown."`
}

// Usage is what a cell used. A figure that could not be measured is absent.
type Usage struct {
	Wall       float64  `json:"wall_seconds" doc:"Seconds from started to ended."`
	CPU        *float64 `json:"cpu_seconds,omitempty" doc:"Seconds of processor time of the kernel and what it started, as the sandbox counts them."`
	PeakMemory int64    `json:"peak_memory_bytes,omitempty" doc:"The most memory that the whole sandbox used while the cell ran, in bytes, as the host counts it."`
}

// Died reports whether the status means that the kernel died under the cell.
func (s CellStatus) Died() bool {
	return s == StatusOOM || s == StatusSignal || s == StatusExit || s == StatusLost
}

// CellType is what a cell of a notebook is. All that is submitted is code; the others come with a
// notebook that is handed in.
type CellType string

// The types of cells.
const (
	CellCode     CellType = "code"
	CellMarkdown CellType = "markdown"
	CellRaw      CellType = "raw"
)

// Cell is one submitted piece of code and its fate. It runs once.
type Cell struct {
	ID             CellID        `json:"id" doc:"Identifies the cell." example:"cq7h2w9d4kx5n3vtb"`
	Session        SessionID     `json:"session" doc:"The session it belongs to."`
	Kernel         KernelID      `json:"kernel" doc:"The kernel that runs it."`
	Type           CellType      `json:"cell_type,omitempty" enum:"code,markdown,raw" doc:"Set for the cells of a notebook that was handed in; code when absent."`
	Code           string        `json:"code" doc:"The submitted source."`
	Figures        *Figures      `json:"figures,omitempty" doc:"How its figures are drawn."`
	State          CellState     `json:"state" enum:"queued,running,done" doc:"Where it is in its life."`
	Status         CellStatus    `json:"status,omitempty" enum:"ok,error,interrupted,timeout,cancelled,oom,signal,exit,lost" doc:"How it ended."`
	Cause          string        `json:"cause,omitempty" doc:"One sentence on how it ended, when the status alone does not tell."`
	ExecutionCount int           `json:"execution_count,omitempty" doc:"The number in the kernel's prompt."`
	Submitted      time.Time     `json:"submitted" doc:"When it was accepted."`
	Started        time.Time     `json:"started,omitzero" doc:"When its kernel got it; its deadline counts from here."`
	Ended          time.Time     `json:"ended,omitzero" doc:"When it was done."`
	OnError        OnError       `json:"on_error,omitempty" enum:"continue,cancel" doc:"What becomes of the cells that wait behind it when it does not end well; continue when absent."`
	AllowStdin     bool          `json:"allow_stdin,omitempty" doc:"Whether its code may ask for input."`
	Position       int           `json:"position,omitempty" doc:"While it waits: how many cells are before it, the running one included; absent when it is the next."`
	Input          *InputRequest `json:"input,omitempty" doc:"While its code waits for input: what it asks for."`
	Usage          *Usage        `json:"usage,omitempty" doc:"When it is done: what it used."`
	Undone         bool          `json:"undone,omitempty" doc:"The session was rolled back to a checkpoint from before it: its effects are gone, and the notebook does not have it."`
	First          int64         `json:"first,omitempty" doc:"Number of the cell's first event."`
	Last           int64         `json:"last,omitempty" doc:"Number of the cell's last event."`
	Bytes          int64         `json:"bytes,omitempty" doc:"Bytes of output that it put out, displays included, whatever became of them."`
	Truncated      bool          `json:"truncated,omitempty" doc:"Some of its output is not in outputs: of long output the beginning and the end are there. More of the text can be read with get-cell-text."`
	Omitted        int64         `json:"omitted,omitempty" doc:"Bytes of output that are not in outputs."`
	WaitOver       bool          `json:"wait_over,omitempty" doc:"In an answer to a request with wait: the wait ended before the cell did. The cell goes on, and the status of the answer is 202. Ask again, with wait."`
	Outputs        []Output      `json:"outputs" doc:"What it put out, in notebook form (nbformat 4.5), with progress folded."`

	Metadata    map[string]json.RawMessage `json:"metadata,omitempty" doc:"What a notebook that was handed in said of the cell."`
	Attachments map[string]json.RawMessage `json:"attachments,omitempty" doc:"Images of a markdown cell, by their names."`
	Files       []CellFile                 `json:"files,omitempty" doc:"Files that were written while it ran, below /workspace and /mnt/data/output; 100 at the most. With several kernels at work it may be another's."`
	MoreFiles   bool                       `json:"more_files,omitempty" doc:"There were more files than are told."`
}
