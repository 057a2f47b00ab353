// Package record has the data that the server stores for a session: the fields that callers see, and those
// that only the server needs.
//
// The JSON form of these types is the stored form. Keys never change their meaning. If an older record lacks a
// key, the field has its zero value. The package reads and writes nothing.
package record

import (
	"encoding/json"
	"slices"
	"time"

	"cellhold"
)

// Session is a stored session. Its lists are never changed in place.
type Session struct {
	cellhold.Session
	Owner   string `json:"owner,omitempty"`   // name of the token that created the session
	Sandbox string `json:"sandbox,omitempty"` // id of the newest sandbox
	Digest  string `json:"digest,omitempty"`  // digest of the image, so that a new sandbox has the same image
	Article bool   `json:"article,omitempty"` // created through the article's API (docs/reference/http-api.md), which has one session for each user
	Once    bool   `json:"once,omitempty"`    // for one run of package oneshot, which ends with the server
	Vault   []byte `json:"vault,omitempty"`   // the secrets with their values, sealed by package egress

	Env       map[string]string `json:"env,omitempty"`       // added to the environment of its kernels and commands
	Lifetime  time.Duration     `json:"lifetime,omitempty"`  // time to the deadline, as last requested
	Idle      bool              `json:"idle,omitempty"`      // while hibernated: the server hibernated it because it was idle
	Key       string            `json:"key,omitempty"`       // idempotency key of its creation
	KeyDigest string            `json:"keydigest,omitempty"` // digest of the request that had the key

	Snapshot    string       `json:"snapshot,omitempty"`    // while hibernated: the snapshot that it resumes from
	Boot        string       `json:"boot,omitempty"`        // while hibernated: the boot id of the agent in the snapshot
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"` // oldest first
	Undone      []Undone     `json:"undone,omitempty"`      // parts of the history that rollbacks undid
}

// Paused reports whether the session is hibernated because a caller asked for it, or because its deadline passed.
func (s Session) Paused(now time.Time) bool {
	return s.State == cellhold.SessionHibernated && (!s.Idle || !s.Deadline.IsZero() && !now.Before(s.Deadline))
}

// FindCheckpoint returns the checkpoint with the given name.
func (s Session) FindCheckpoint(name string) (Checkpoint, error) {
	for _, c := range s.Checkpoints {
		if c.Name == name {
			return c, nil
		}
	}
	return Checkpoint{}, cellhold.Errorf(cellhold.NotFound, "Checkpoint %.64q not found in this session.", name)
}

// WithoutCheckpoint returns the other checkpoints.
func (s Session) WithoutCheckpoint(name string) []Checkpoint {
	return slices.DeleteFunc(slices.Clone(s.Checkpoints), func(c Checkpoint) bool { return c.Name == name })
}

// Overdue reports whether the deadline of the session has passed and its hibernation only waits for running work. Only a
// request resumes such a session, so new work must wait for that request too: otherwise work could follow work forever.
func (s Session) Overdue(now time.Time) bool {
	return s.State == cellhold.SessionReady && s.AtDeadline == cellhold.DeadlineHibernate && s.Resume == cellhold.ResumeOnRequest &&
		!s.Deadline.IsZero() && !now.Before(s.Deadline)
}

// Checkpoint is a stored checkpoint, with the fields that a rollback restores.
type Checkpoint struct {
	cellhold.Checkpoint
	Snapshot string             `json:"snapshot"`
	Kernels  []cellhold.Kernel  `json:"kernels"`
	Packages []cellhold.Package `json:"packages,omitempty"`
	Undone   []Undone           `json:"undone,omitempty"`
}

// Undone is a part of a session's history that a rollback undid. Its events can still be read, but their
// effects are gone.
type Undone struct {
	After int64     `json:"after"` // number of the last event before the part
	Last  int64     `json:"last"`  // number of the last event in the part
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Has reports whether a cell belongs to the part. A cell that never ran has no events, so the time of its
// submission decides.
func (u Undone) Has(c cellhold.Cell) bool {
	if c.First > 0 {
		return c.First > u.After && c.First <= u.Last
	}
	return c.Submitted.After(u.Since) && !c.Submitted.After(u.Until)
}

// Event is an event as it is stored. Boot and Source are the agent's own numbering: the boot id of the agent,
// and its number for the event. With them the server recognises events that the agent sends again after a crash.
// Source is 0 for events that the host made.
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
	Before  string        `json:"before,omitempty"`  // code that sets the environment of the cell
	After   string        `json:"after,omitempty"`   // code that restores the environment after the cell
	Request *Request      `json:"request,omitempty"` // the request of a Jupyter client that the cell comes from; nil for all other cells
}

// Request has the parts of a Jupyter client's execute_request that its cell does not have. The kernel gets them.
type Request struct {
	Header          []byte          `json:"header"` // the bytes of the header, because the kernel must return them unchanged
	Metadata        json.RawMessage `json:"metadata,omitempty"`
	Silent          bool            `json:"silent,omitempty"`
	StoreHistory    bool            `json:"store_history,omitempty"`
	UserExpressions json.RawMessage `json:"user_expressions,omitempty"`
}

// Unlisted reports whether a cell is in no notebook and in no list of cells: its client asked for no trace of it.
func (c Cell) Unlisted() bool {
	return c.Request != nil && (c.Request.Silent || !c.Request.StoreHistory)
}

// Command is a command as it is stored.
type Command struct {
	cellhold.Command
	Timeout time.Duration `json:"timeout,omitempty"` // deadline, from its start
	Boot    string        `json:"boot,omitempty"`    // boot id of the agent that runs it
}
