// Package session manages one session: its record, its state, and its sandbox. It starts, hibernates,
// resumes, rolls back, forks and ends the session. The steps have an order in which a server that is
// killed at any step loses nothing and leaves nothing behind.
//
// It does not know other sessions: package registry creates, finds, counts and expires them. It does not
// know how callers reach it, or how a sandbox is made and used: drivers and package attachment do. A
// session's sandbox keeps running after the server ends. End, an expiry or a failure ends it.
//
// Lock order: the turn of states.Machine, Session.mu; then the locks of packages attachment and kernel.
package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/egress"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/history"
	"cellhold/internal/mirror"
	"cellhold/internal/packages"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/refold"
	"cellhold/internal/session/snapshots"
)

// Store stores a session, its cells and its events.
type Store interface {
	attachment.Journal
	history.Store
	refold.Store
	PutSession(ctx context.Context, s record.Session) error
	// AppendSession records a changed session together with the events that report the change.
	AppendSession(ctx context.Context, s record.Session, evs []record.Event) error
	// Copy gives a new session the history of another session up to event last: the events, and the cells and
	// commands that had begun by then. Cells without events are copied if they were submitted by the time at.
	Copy(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error
	// DeleteSession deletes the record with its cells and events. An unknown id is not an error.
	DeleteSession(ctx context.Context, id cellhold.SessionID) error
	// CellByKey returns the cell that was submitted with the key. If there is none, the error is
	// cellhold.NotFound.
	CellByKey(ctx context.Context, id cellhold.SessionID, key string) (record.Cell, error)
}

// Image is a root file system from which sandboxes are made.
type Image struct {
	Name   string // name for callers
	Digest string // digest of the content
	Rootfs string // directory on the host
}

// Images finds images by name or digest. A cellhold.NotFound error says how to get the image.
type Images interface {
	Resolve(name string) (Image, error)
}

// Templates has the recipes of sessions that start fast. Without a template or its snapshot, a session starts
// cold: more slowly, with the same result.
type Templates interface {
	// Find returns the template with the given name. A cellhold.NotFound error lists the names. An empty name
	// means the default template, or the zero value if there is none.
	Find(name string) (cellhold.Template, error)
	// List returns all templates, the default one first.
	List() []cellhold.Template
	// Start returns the snapshot from which a sandbox of the template can continue, and its installed
	// packages. It returns no snapshot if the sandbox must start cold. out says whether the session has network
	// access.
	Start(name string, s sandbox.Spec, out bool) (from string, installed []cellhold.Package)
	// PrimedClient returns a connection to the agent of a sandbox that continues from a snapshot, and the agent's
	// Info. It returns nil if the templates have no connection to the sandbox. The caller owns the connection.
	PrimedClient(id sandbox.ID) (*guest.Client, guestapi.Info)
	// Failed reports that a sandbox could not continue from the snapshot, or did not work.
	Failed(from string, err error)
}

// Registry has the functions of the registry that a session needs.
type Registry interface {
	// ReserveRunning reserves a slot for a session that gets a sandbox, until release is called. If no slot
	// is free, the error is Exhausted.
	ReserveRunning() (release func(), err error)
	// ReserveHibernated reserves a slot for a session that hibernates.
	ReserveHibernated() (release func(), err error)
	// Add adds a session to the registry. It fails if the server does not accept sessions now.
	Add(s *Session) error
	// Forget removes an ended session. With readable, the owner can still read it by id until it is purged.
	Forget(s *Session, readable bool)
	// Destroy destroys a sandbox, even after ctx ended. If that fails, the registry retries later.
	Destroy(ctx context.Context, sb sandbox.Sandbox)
	// DropSnapshot removes a snapshot, with the same retries. It ignores an empty name.
	DropSnapshot(ctx context.Context, name string)
	// Reschedule reports that the time at which a session is due changed.
	Reschedule()
}

// Settings are the operator's settings for all sessions. Home, Notebooks and Outputs are required.
type Settings struct {
	Home      string // state directory
	Notebooks string // directory of the notebooks
	Outputs   string // directory of the output files
	Data      string // folder of the host shown read-only at /mnt/data; empty: none

	Kernel string          // kernelspec that sessions start; empty: python3
	Egress egress.Settings // the network access that sessions can have; zero: none

	PublicPorts cellhold.PublicPorts // which sessions can have public ports; zero: none

	MaxCheckpoints int // maximum for one session; 0: 8

	IdleTimeout    time.Duration // a session ends after this long without use; 0: 1 h
	HibernateAfter time.Duration // a session hibernates after this long without use; 0: never
	MaxAge         time.Duration // a session ends at this age; 0: never
	CellTimeout    time.Duration // default timeout of cells; 0: 5 min
	MaxCellTimeout time.Duration // maximum timeout of cells; 0: 24 h
	StartTimeout   time.Duration // time limit for a sandbox and its kernel to become ready; 0: 90 s
	MaxUpload      int64         // maximum size of an upload in bytes; 0: 16 GiB
	Retention      time.Duration // an expired or lost session can be read for this long; 0: 24 h

	KeepNotebooks bool // keep notebooks on disk after the end of their session
	Ephemeral     bool // destroy the sandboxes when the server ends
}

// Environment has the parts of the server that all sessions share. All fields except Templates are required.
type Environment struct {
	Settings
	Driver    sandbox.Driver
	Store     Store
	Images    Images
	Templates Templates // nil: none
	Packages  *packages.Packages
	Logger    *slog.Logger
	Snapshots *snapshots.Store
	Folders   *mirror.Folders
	Registry  Registry
	Running   *sync.WaitGroup // counts the sessions with running goroutines
}

// FirstKernel returns the kernel of a session whose caller chooses no kernelspec.
func (s *Settings) FirstKernel() []cellhold.Kernel {
	return []cellhold.Kernel{{ID: cellhold.KernelID(s.Kernel), Spec: s.Kernel, State: cellhold.KernelStarting}}
}
