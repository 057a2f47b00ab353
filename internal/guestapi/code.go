package guestapi

import "time"

// Bounds of requests for packages that code in the sandbox makes.
const (
	// MaxCodeRequest is the limit of one CodeRequest in bytes. A requirements file of 500 packages has 20
	// kB.
	MaxCodeRequest = 256 << 10
	// MaxCodeLine is the limit of one CodeLine in bytes.
	MaxCodeLine = 256 << 10
	// CodeBeat is how often the host reports that it still works on a request. CodeSilence is how long the
	// guest waits for the next line. After that time the host counts as dead.
	CodeBeat    = 5 * time.Second
	CodeSilence = 20 * time.Second
)

// CodeUpgrade is the protocol of connections on which code asks for packages.
const CodeUpgrade = "cellhold-packages"

// CodeRequest is a request of code in the sandbox, the first line of a connection with CodeUpgrade. The agent does not
// check it. A CodeRequest has either Remove, or packages to install.
type CodeRequest struct {
	Requirements []string `json:"requirements,omitempty"` // one in each element
	File         string   `json:"file,omitempty"`         // text of a requirements file
	Remove       []string `json:"remove,omitempty"`       // names of packages
	Upgrade      bool     `json:"upgrade,omitempty"`      // to the newest version that the requirements allow
	Alone        bool     `json:"alone,omitempty"`        // without dependencies
}

// CodeLine is one line of the host's answer. The last line has Done.
type CodeLine struct {
	Wait bool      `json:"wait,omitempty"` // the host still works on the request
	Say  string    `json:"say,omitempty"`  // a line of progress to print
	Done *CodeDone `json:"done,omitempty"`
}

// CodeDone is the result of a request of code.
type CodeDone struct {
	Lines  []string `json:"lines,omitempty"`  // lines to print
	Error  string   `json:"error,omitempty"`  // one sentence; empty means success
	Denied bool     `json:"denied,omitempty"` // by the operator's policy, or because there is no index
}
