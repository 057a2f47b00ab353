// Package cellhold has the types that all packages share: sessions, kernels, cells, events, outputs and the
// kinds of error. It starts nothing and imports only the standard library.
package cellhold

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"
)

// SessionID identifies a session permanently: 's' and 16 letters or digits. The ids are random (80 bits), so
// one id tells nothing about another. All ids have the same length.
type SessionID string

// CellID identifies a cell permanently: 'c' and 16 letters or digits.
type CellID string

// KernelID identifies a kernel within its session, such as "python3".
type KernelID string

// NewSessionID returns a new random id.
func NewSessionID() SessionID { return SessionID("s" + randomName()) }

// NewCellID returns a new random id.
func NewCellID() CellID { return CellID("c" + randomName()) }

// randomName returns 16 characters of base 32: 80 random bits.
func randomName() string { return strings.ToLower(rand.Text()[:16]) }

// SessionState is the state of a session.
type SessionState string

// The states of a session, from its creation to its end.
const (
	SessionStarting   SessionState = "starting"
	SessionReady      SessionState = "ready"
	SessionHibernated SessionState = "hibernated"
	SessionEnded      SessionState = "ended"
)

// EndReason says why a session ended.
type EndReason string

// The reasons why a session ends.
const (
	EndAsked   EndReason = "asked"   // the owner ended the session
	EndExpired EndReason = "expired" // the session was idle too long, or reached its deadline or its maximum age
	EndFailed  EndReason = "failed"  // the session never became ready
	EndLost    EndReason = "lost"    // the sandbox was gone when the server restarted
)

// DeadlineAction says what happens to a session at its deadline.
type DeadlineAction string

// The actions. Empty means DeadlineEnd.
const (
	DeadlineEnd       DeadlineAction = "end"
	DeadlineHibernate DeadlineAction = "hibernate"
)

// ResumePolicy says what resumes a session after a requested hibernation, or after one at its deadline. Sessions that
// the server hibernated because they were idle always resume at the next use.
type ResumePolicy string

// The policies. Empty means ResumeOnUse.
const (
	ResumeOnUse     ResumePolicy = "use"     // the next use resumes the session
	ResumeOnRequest ResumePolicy = "request" // only a request to resume it
)

// Session is one sandbox with its kernels, files and events. It belongs to one owner.
type Session struct {
	ID      SessionID         `json:"id" doc:"Session id." example:"sk3v7q2m9xw4tz6hb"`
	User    string            `json:"user,omitempty" doc:"Label of the person or agent, as given at creation. Never used as a path."`
	State   SessionState      `json:"state" enum:"starting,ready,hibernated,ended" doc:"State of the session."`
	Reason  EndReason         `json:"reason,omitempty" enum:"asked,expired,failed,lost" doc:"Why the session ended."`
	Image   string            `json:"image" doc:"Name of the image of its sandbox." example:"python"`
	Startup string            `json:"startup,omitempty" doc:"Code that runs without output after each start of the kernel."`
	Figures *Figures          `json:"figures,omitempty" doc:"Default format of figures in its cells."`
	Created time.Time         `json:"created" doc:"Time of creation."`
	Used    time.Time         `json:"used" doc:"Time of the last use by a caller or a cell."`
	Expires time.Time         `json:"expires" doc:"Time at which the session ends if it is not used before."`
	Limits  Limits            `json:"limits" doc:"Limits of its sandbox."`
	Egress  Egress            `json:"egress" doc:"Network access of its code."`
	Dir     string            `json:"cwd,omitempty" doc:"Working directory of its kernels and commands, and the base of relative paths. Absent means /workspace."`
	Secrets []SecretInfo      `json:"secrets,omitempty" doc:"Secrets of the session, without their values."`
	Kernels []Kernel          `json:"kernels" doc:"Kernels of the session."`
	Meta    map[string]string `json:"metadata,omitempty" doc:"Notes of the caller, stored and returned unchanged."`

	Deadline   time.Time      `json:"deadline,omitzero" doc:"Time at which the session ends or hibernates, even if it is used."`
	AtDeadline DeadlineAction `json:"at_deadline,omitempty" enum:"end,hibernate" doc:"Action at the deadline. A session that is busy hibernates as soon as it is not."`
	Resume     ResumePolicy   `json:"resume,omitempty" enum:"use,request" doc:"Use or request that resumes the session after a requested hibernation, or after one at the deadline. use: the next use. request: only a resume request. Absent means use."`

	PublicPorts bool `json:"public_ports,omitempty" doc:"If true, everybody can reach the ports of the session through hosts of the server, without a token."`

	Template   string    `json:"template,omitempty" doc:"Template from which the session was created."`
	Parent     SessionID `json:"parent,omitempty" doc:"Session from which this one was forked."`
	Checkpoint string    `json:"checkpoint,omitempty" doc:"Checkpoint of the last rollback."`

	Packages []Package `json:"packages,omitempty" doc:"Installed packages that differ from the image. They are lost when the sandbox ends."`
}

// Limits are the resources that a session's sandbox can use. Zero means the server's default.
type Limits struct {
	Memory    int64   `json:"memory,omitempty" minimum:"0" doc:"Memory in bytes, including tmpfs. Requests can also use a text such as \"2GiB\"." example:"1073741824"`
	CPU       float64 `json:"cpu,omitempty" minimum:"0" doc:"CPU cores. 0.5 is half a core." example:"1"`
	Processes int     `json:"processes,omitempty" minimum:"0" doc:"Maximum number of processes and threads at the same time." example:"256"`
	Disk      int64   `json:"disk,omitempty" minimum:"0" doc:"Bytes that code can write outside /tmp and /mnt/data/output. Requests can also use a text such as \"2GiB\"." example:"1073741824"`
	Tmp       int64   `json:"tmp,omitempty" minimum:"0" doc:"Size of /tmp in bytes. Requests can also use a text such as \"2GiB\"." example:"268435456"`
	Output    int64   `json:"output,omitempty" minimum:"0" doc:"Size of /mnt/data/output in bytes. Requests can also use a text such as \"2GiB\"." example:"268435456"`
}

// KernelState is the state of a kernel. The words are Jupyter's.
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
	ID       KernelID    `json:"id" doc:"Kernel id, unique within the session." example:"python3"`
	Spec     string      `json:"spec,omitempty" doc:"Kernelspec of the kernel." example:"python3"`
	Language string      `json:"language,omitempty" doc:"Programming language." example:"python"`
	Dir      string      `json:"cwd,omitempty" doc:"Working directory, if it differs from the session's."`
	Startup  string      `json:"startup,omitempty" doc:"Code that runs without output after each start of the kernel, if it is not the first kernel."`
	State    KernelState `json:"state" enum:"starting,idle,busy,restarting,dead" doc:"State of the kernel."`
	Cause    CellStatus  `json:"cause,omitempty" enum:"oom,signal,exit,lost,timeout" doc:"Why the kernel died, if its state is dead."`
	Queued   int         `json:"queued" doc:"Number of cells in its queue."`
}

// Template is a recipe of sessions that start fast. The server started one such session, ran the warm-up code
// and saved a snapshot; new sessions continue from it.
type Template struct {
	Name     string   `json:"name" doc:"Name of the template." example:"python"`
	Image    string   `json:"image" doc:"Image of its sessions." example:"python"`
	Limits   Limits   `json:"limits" doc:"Default limits of its sessions."`
	Egress   Egress   `json:"egress" doc:"Default network access of its sessions."`
	Packages []string `json:"packages,omitempty" doc:"Requirements of the packages installed in the template." example:"[\"polars\"]"`
	Warmup   string   `json:"warmup,omitempty" doc:"Code that ran before the snapshot was made."`
	Warm     int      `json:"warm" doc:"Number of sandboxes that the server keeps ready without bursts." example:"2"`
	Wanted   int      `json:"wanted" doc:"Number of sandboxes that the server keeps ready now. After a burst it is above warm; after quiet minutes it falls back." example:"2"`
	Ready    int      `json:"ready" doc:"Number of sandboxes that are ready now."`

	State   TemplateState `json:"state" enum:"building,ready,failed" doc:"If ready, its sessions start from a snapshot. Otherwise they start cold, which is slower."`
	Problem string        `json:"problem,omitempty" doc:"Why the snapshot could not be made, if the state is failed."`
	Built   time.Time     `json:"built,omitzero" doc:"Time at which the snapshot was made."`
	Size    int64         `json:"size,omitempty" doc:"Size of the snapshot on disk, in bytes."`
}

// TemplateState is the state of a template.
type TemplateState string

// The states of a template.
const (
	TemplateBuilding TemplateState = "building"
	TemplateReady    TemplateState = "ready"
	TemplateFailed   TemplateState = "failed"
)

// Checkpoint is a named snapshot of a session, to which the session can be rolled back.
type Checkpoint struct {
	Name    string    `json:"name" doc:"Name of the checkpoint, unique within the session." example:"before-the-join"`
	Created time.Time `json:"created" doc:"Time at which the checkpoint was made."`
	Size    int64     `json:"size" doc:"Size on disk, in bytes."`
	Last    int64     `json:"last" doc:"Number of the session's newest event at that time."`
}

// KernelSpec is a type of kernel that an image has.
type KernelSpec struct {
	Name        string `json:"name" doc:"Name of the kernelspec, used to start such a kernel." example:"bash"`
	DisplayName string `json:"display_name,omitempty" doc:"Name to show to people." example:"Bash"`
	Language    string `json:"language,omitempty" doc:"Programming language." example:"bash"`
}

// CellState is the state of a cell.
type CellState string

// The states of a cell, in order.
const (
	CellQueued  CellState = "queued"
	CellRunning CellState = "running"
	CellDone    CellState = "done"
)

// CellStatus is the result of a cell.
type CellStatus string

// The results of a cell. The last four say how the kernel died while the cell ran.
const (
	StatusOK          CellStatus = "ok"
	StatusError       CellStatus = "error"       // the code raised an exception
	StatusInterrupted CellStatus = "interrupted" // a caller interrupted the cell
	StatusTimeout     CellStatus = "timeout"     // the timeout passed
	StatusCancelled   CellStatus = "cancelled"   // the cell never ran
	StatusOOM         CellStatus = "oom"         // the sandbox had no memory left
	StatusSignal      CellStatus = "signal"      // a signal ended the kernel
	StatusExit        CellStatus = "exit"        // the kernel exited
	StatusLost        CellStatus = "lost"        // the sandbox is gone
)

// OnError says what happens to the queued cells when a cell fails.
type OnError string

// The choices. Empty means OnErrorContinue.
const (
	OnErrorContinue OnError = "continue" // the queued cells run
	OnErrorCancel   OnError = "cancel"   // the cells in the queue at that moment are cancelled
)

// InputRequest is a question of a cell's code that waits for an answer.
type InputRequest struct {
	Request  int64  `json:"request" doc:"Number of the input_request event. Send it with the answer, so that the answer cannot reach another question."`
	Prompt   string `json:"prompt" doc:"Text that the code shows before the input."`
	Password bool   `json:"password" doc:"If true, do not show the typed text."`
}

// Usage says which resources a cell used. Fields that could not be measured are absent.
type Usage struct {
	Wall       float64  `json:"wall_seconds" doc:"Seconds between started and ended."`
	CPU        *float64 `json:"cpu_seconds,omitempty" doc:"CPU seconds of the kernel and its child processes, measured in the sandbox."`
	PeakMemory int64    `json:"peak_memory_bytes,omitempty" doc:"Peak memory of the whole sandbox while the cell ran, in bytes, measured on the host."`
}

// Died reports whether the status means that the kernel died while the cell ran.
func (s CellStatus) Died() bool {
	return s == StatusOOM || s == StatusSignal || s == StatusExit || s == StatusLost
}

// CellType is the type of a cell in a notebook. Submitted cells are code. An uploaded notebook can have the
// other types.
type CellType string

// The types of cells.
const (
	CellCode     CellType = "code"
	CellMarkdown CellType = "markdown"
	CellRaw      CellType = "raw"
)

// Cell is one submitted piece of code, with its outputs and its result. A cell runs once.
type Cell struct {
	ID             CellID        `json:"id" doc:"Cell id." example:"cq7h2w9d4kx5n3vtb"`
	Session        SessionID     `json:"session" doc:"Session of the cell."`
	Kernel         KernelID      `json:"kernel" doc:"Kernel that runs the cell."`
	Type           CellType      `json:"cell_type,omitempty" enum:"code,markdown,raw" doc:"Type of the cell, for cells of an uploaded notebook. Absent means code."`
	Code           string        `json:"code" doc:"Submitted source code."`
	Figures        *Figures      `json:"figures,omitempty" doc:"Format of the cell's figures."`
	State          CellState     `json:"state" enum:"queued,running,done" doc:"State of the cell."`
	Status         CellStatus    `json:"status,omitempty" enum:"ok,error,interrupted,timeout,cancelled,oom,signal,exit,lost" doc:"Result of the cell, if its state is done."`
	Cause          string        `json:"cause,omitempty" doc:"One sentence that explains the status, if it needs one."`
	ExecutionCount int           `json:"execution_count,omitempty" doc:"Number in the kernel's prompt."`
	Submitted      time.Time     `json:"submitted" doc:"Time at which the server accepted the cell."`
	Started        time.Time     `json:"started,omitzero" doc:"Time at which the kernel received the cell. The timeout starts here."`
	Ended          time.Time     `json:"ended,omitzero" doc:"Time at which the cell was done."`
	OnError        OnError       `json:"on_error,omitempty" enum:"continue,cancel" doc:"Effect on the queued cells if this cell fails. Absent means continue."`
	AllowStdin     bool          `json:"allow_stdin,omitempty" doc:"If true, the code can ask for input."`
	Position       int           `json:"position,omitempty" doc:"For a queued cell: number of cells before it, including the running one. Absent if the cell is next."`
	Input          *InputRequest `json:"input,omitempty" doc:"The question, while the code waits for input."`
	Usage          *Usage        `json:"usage,omitempty" doc:"Resources that the cell used, once it is done."`
	Undone         bool          `json:"undone,omitempty" doc:"True after a rollback to an earlier checkpoint: the cell's effects are gone, and the notebook omits the cell."`
	First          int64         `json:"first,omitempty" doc:"Number of the first event of the cell."`
	Last           int64         `json:"last,omitempty" doc:"Number of the last event of the cell."`
	Bytes          int64         `json:"bytes,omitempty" doc:"Bytes of output that the cell produced, including displays and dropped output."`
	Truncated      bool          `json:"truncated,omitempty" doc:"True if outputs has only the beginning and the end of a long output. get-cell-text returns more of the text."`
	Omitted        int64         `json:"omitted,omitempty" doc:"Bytes of output that outputs omits."`
	WaitOver       bool          `json:"wait_over,omitempty" doc:"True if the request's wait ended before the cell was done. The cell continues, and the HTTP status is 202. Send get-cell with wait to wait longer."`
	Outputs        []Output      `json:"outputs" doc:"Outputs in notebook form (nbformat 4.5). Progress bars show only their last state."`

	Metadata    map[string]json.RawMessage `json:"metadata,omitempty" doc:"Metadata of the cell from an uploaded notebook."`
	Attachments map[string]json.RawMessage `json:"attachments,omitempty" doc:"Images of a Markdown cell, by name."`
	Files       []CellFile                 `json:"files,omitempty" doc:"Files below /workspace and /mnt/data/output that were written while the cell ran, at most 100. If several kernels run, another kernel can have written them."`
	MoreFiles   bool                       `json:"more_files,omitempty" doc:"True if more files were written than files lists."`
}
