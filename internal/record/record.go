// Package record has what the server stores of a session: the fields that callers see, and those that only
// the server needs.
//
// The JSON form of these types is the stored form. Keys never change their meaning; a key that is missing
// in an older record has its zero value. The package decides nothing.
package record

import (
	"time"

	"cellhold"
)

// Session is a session as it is stored. Its lists are never changed in place.
type Session struct {
	cellhold.Session
	Owner   string `json:"owner,omitempty"`   // name of the token that created it
	Sandbox string `json:"sandbox,omitempty"` // id of its newest sandbox
	Digest  string `json:"digest,omitempty"`  // digest of its image, so that a new sandbox is made from the same one
	Article bool   `json:"article,omitempty"` // created through the article's API: one for each user, plain tracebacks
	Vault   []byte `json:"vault,omitempty"`   // its secrets with their values, as package egress seals them

	Snapshot    string       `json:"snapshot,omitempty"`    // while hibernated: the snapshot that it resumes from
	Boot        string       `json:"boot,omitempty"`        // while hibernated: the boot id of the agent in the snapshot
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"` // oldest first
	Undone      []Undone     `json:"undone,omitempty"`      // what rollbacks have undone
}

// Checkpoint is a checkpoint as it is stored, with what the session becomes when it is rolled back to it.
type Checkpoint struct {
	cellhold.Checkpoint
	Snapshot string             `json:"snapshot"`
	Kernels  []cellhold.Kernel  `json:"kernels"`
	Packages []cellhold.Package `json:"packages,omitempty"`
	Undone   []Undone           `json:"undone,omitempty"`
}

// Undone is a part of a session's history that a rollback has undone: its events stay readable, their
// effects are gone.
type Undone struct {
	After int64     `json:"after"` // number of the last event before the part
	Last  int64     `json:"last"`  // number of the last event in the part
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Has reports whether a cell belongs to the part. A cell that never ran has no events: its submission
// decides.
func (u Undone) Has(c cellhold.Cell) bool {
	if c.First > 0 {
		return c.First > u.After && c.First <= u.Last
	}
	return c.Submitted.After(u.Since) && !c.Submitted.After(u.Until)
}

// Event is an event as it is stored. Boot and Source are the agent's own numbering: the boot id of the agent,
// and its number for the event. They make a replay after a crash harmless. Source is 0 for events that the
// host made.
type Event struct {
	cellhold.Event
	Boot   string
	Source int64
}

// NewEvent returns an event that the host makes, as cellhold.NewEvent does.
func NewEvent(t cellhold.EventType, k cellhold.KernelID, c cellhold.CellID, content any) Event {
	return Event{Event: cellhold.NewEvent(t, k, c, content)}
}

// Cell is a cell as it is stored.
type Cell struct {
	cellhold.Cell
	Timeout time.Duration `json:"timeout,omitempty"` // deadline, from the start of the cell
	Key     string        `json:"key,omitempty"`     // the caller's idempotency key
	Digest  string        `json:"digest,omitempty"`  // of the request that had the key
}

// Command is a command as it is stored.
type Command struct {
	cellhold.Command
	Timeout time.Duration `json:"timeout,omitempty"` // deadline, from its start
	Boot    string        `json:"boot,omitempty"`    // boot id of the agent that runs it
}
