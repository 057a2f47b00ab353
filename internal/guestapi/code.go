package guestapi

import "time"

// Bounds of requests that code in the sandbox makes for packages.
const (
	// MaxCodeRequest is the most bytes of one CodeRequest; a requirements file of 500 packages has 20 kB.
	MaxCodeRequest = 256 << 10
	// MaxCodeLine is the most bytes of one CodeLine.
	MaxCodeLine = 256 << 10
	// CodeBeat is how often the host says that it still works on a request, and CodeSilence is how long
	// the guest waits for its next word: a host that died cannot say so.
	CodeBeat    = 5 * time.Second
	CodeSilence = 20 * time.Second
)

// CodeUpgrade names the protocol of connections on which code asks for packages.
const CodeUpgrade = "cellhold-packages"

// CodeRequest is what code in the sandbox asks for: the first line of such a connection. Nothing in it was
// checked. Either Remove is given, or something to install.
type CodeRequest struct {
	Requirements []string `json:"requirements,omitempty"` // one each
	File         string   `json:"file,omitempty"`         // text of a requirements file
	Remove       []string `json:"remove,omitempty"`       // names
	Upgrade      bool     `json:"upgrade,omitempty"`      // to the newest version that fits
	Alone        bool     `json:"alone,omitempty"`        // without what the packages need
}

// CodeLine is one of the lines that the host answers. The last one has Done.
type CodeLine struct {
	Wait bool      `json:"wait,omitempty"` // it still works on it
	Say  string    `json:"say,omitempty"`  // what it does, a line to print
	Done *CodeDone `json:"done,omitempty"`
}

// CodeDone is how a request of code ended.
type CodeDone struct {
	Lines  []string `json:"lines,omitempty"`  // what to print
	Error  string   `json:"error,omitempty"`  // one sentence; empty means that all is as asked for
	Denied bool     `json:"denied,omitempty"` // by the operator's policy, or for want of an index
}
