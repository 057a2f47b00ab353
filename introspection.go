package cellhold

import (
	"encoding/json"
	"time"
)

// Completion is a kernel's answer to a request for completions. The kernel is not trusted: its texts can have control
// characters.
type Completion struct {
	Matches   []CompletionMatch `json:"matches" doc:"Texts that can replace the code from start to end, at most 1000. The kernel is not trusted: a text can have control characters."`
	Start     int               `json:"start" doc:"Position in the code where the replaced part begins, in Unicode characters."`
	End       int               `json:"end" doc:"Position in the code where the replaced part ends, in Unicode characters."`
	Truncated bool              `json:"truncated,omitempty" doc:"True if matches were left out, because there are too many or they are too long."`
}

// CompletionMatch is one completion.
type CompletionMatch struct {
	Text string `json:"text" doc:"Text that replaces the code from start to end." example:"print"`
	Type string `json:"type,omitempty" doc:"Kind of the named object, such as function, module or instance, if the kernel tells it." example:"function"`
}

// Inspection is a kernel's description of an object. The kernel is not trusted: its texts can have control characters.
type Inspection struct {
	Found     bool                       `json:"found" doc:"True if the kernel knows an object at the position."`
	Data      map[string]json.RawMessage `json:"data" doc:"Description of the object by MIME type: text/plain, and text/html from some kernels. Texts of Python have colours of terminals."`
	Truncated bool                       `json:"truncated,omitempty" doc:"True if a text was cut, or if a text was left out."`
}

// Completeness is the answer to the question whether code is complete.
type Completeness struct {
	Status CompletenessStatus `json:"status" enum:"complete,incomplete,invalid,unknown" doc:"complete: the code can run. incomplete: it needs more lines. invalid: it can never run. unknown: the kernel cannot tell."`
	Indent string             `json:"indent,omitempty" doc:"Spaces and tabs for the beginning of the next line, if the code is incomplete."`
}

// CompletenessStatus says whether code is complete. The words are Jupyter's.
type CompletenessStatus string

// The results of the question whether code is complete.
const (
	CodeComplete   CompletenessStatus = "complete"
	CodeIncomplete CompletenessStatus = "incomplete"
	CodeInvalid    CompletenessStatus = "invalid"
	CodeUnknown    CompletenessStatus = "unknown"
)

// HistoryEntry is the code of one cell.
type HistoryEntry struct {
	Cell           CellID    `json:"cell" doc:"Cell that ran the code."`
	Kernel         KernelID  `json:"kernel" doc:"Kernel of the cell."`
	ExecutionCount int       `json:"execution_count,omitempty" doc:"Number in the kernel's prompt. Absent if the cell did not run."`
	Code           string    `json:"code" doc:"Submitted source code."`
	Submitted      time.Time `json:"submitted" doc:"Time at which the server accepted the cell."`
}
