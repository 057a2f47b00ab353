// Package session owns one session: its record, its state, and its sandbox while it has one. It starts,
// hibernates, resumes, rolls back, forks and ends the session, and keeps the order of these steps such that
// a server that is killed at any of them leaves nothing lost and nothing behind.
//
// It does not know how many sessions there are: package registry creates, finds, counts and expires them.
// It does not know how callers reach it, nor how a sandbox is made and used: drivers and package
// attachment do. A session's sandbox outlives the server; only End, expiry or its own death ends it.
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
	"cellhold/internal/session/shelf"
)

// Store keeps a session, its cells and its events.
type Store interface {
	attachment.Journal
	history.Store
	refold.Store
	PutSession(ctx context.Context, s record.Session) error
	// AppendSession records a session that has changed together with the events that say so.
	AppendSession(ctx context.Context, s record.Session, evs []record.Event) error
	// Copy gives a new session the events of another up to that number, and the cells and commands that had
	// begun by then. Those without events are copied up to that time.
	Copy(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error
	// DeleteSession deletes the record with its cells and events. An unknown id is no error.
	DeleteSession(ctx context.Context, id cellhold.SessionID) error
	// CellByKey returns the cell that was submitted with that key, a cellhold.NotFound error if there is none.
	CellByKey(ctx context.Context, id cellhold.SessionID, key string) (record.Cell, error)
}

// Image is a root file system from which sandboxes are made.
type Image struct {
	Name   string // as the caller knows it
	Digest string // of its content
	Rootfs string // directory of the host
}

// Images finds images by their names or digests; a cellhold.NotFound error says how to get one.
type Images interface {
	Resolve(name string) (Image, error)
}

// Templates are recipes of sessions that start fast. Without a template, and when a template has no
// snapshot, a session starts cold: slower, with the same result.
type Templates interface {
	// Find returns the template of that name, or a cellhold.NotFound error that lists the names; without a
	// name the default one, the zero value if there is none.
	Find(name string) (cellhold.Template, error)
	// List describes all templates, the default one first.
	List() []cellhold.Template
	// Start returns the snapshot from which a sandbox of that template can continue, and the packages that
	// were installed in it. It returns no snapshot when the sandbox must start cold.
	Start(name string, s sandbox.Spec, out bool) (from string, installed []cellhold.Package)
	// PrimedClient returns a connection to the agent of a sandbox that continues from such a snapshot, and its Info,
	// if it has been greeted; nil otherwise. The caller owns the connection.
	PrimedClient(id sandbox.ID) (*guest.Client, guestapi.Info)
	// Failed says that a sandbox could not continue from that snapshot, or did not work.
	Failed(from string, err error)
}

// Registry is what a session asks of the registry that knows it.
type Registry interface {
	// ReserveRunning takes a slot for a session that gets a sandbox, until release is called. No free slot is
	// an Exhausted error.
	ReserveRunning() (release func(), err error)
	// ReserveHibernated takes a slot for a session that hibernates.
	ReserveHibernated() (release func(), err error)
	// Add makes a session known. It is an error when the server takes no sessions now.
	Add(s *Session) error
	// Forget makes a session that has ended unknown; with readable only to its user, until it is purged.
	Forget(s *Session, readable bool)
	// Destroy destroys a sandbox, also after ctx has ended. A sandbox that cannot be destroyed now is tried
	// again later.
	Destroy(ctx context.Context, sb sandbox.Sandbox)
	// DropSnapshot removes a snapshot in the same way. An empty name is no snapshot.
	DropSnapshot(ctx context.Context, name string)
	// Reschedule says that the time at which a session is due has changed.
	Reschedule()
}

// Settings are what the operator chooses for all sessions. Home is required.
type Settings struct {
	Home string // state directory: notebooks and output files
	Data string // folder of the host shown read-only at /mnt/data; empty: none

	Kernel string // kernelspec that sessions start; empty: python3
	Egress Egress // the network access that sessions can have; zero: none

	MaxCheckpoints int // of one session; 0: 8

	IdleTimeout    time.Duration // a session ends after this long without use; 0: 1 h
	HibernateAfter time.Duration // a session hibernates after this long without use; 0: never
	MaxAge         time.Duration // a session ends at this age; 0: never
	CellTimeout    time.Duration // deadline of cells that name none; 0: 5 min
	MaxCellTimeout time.Duration // longest deadline; 0: 24 h
	StartTimeout   time.Duration // sandbox and kernel must be ready within it; 0: 90 s
	MaxUpload      int64         // bytes of the longest upload; 0: 16 GiB
	Retention      time.Duration // an expired or lost session can be read for this long; 0: 24 h

	KeepNotebooks bool // notebooks stay on disk when their session has ended
	Ephemeral     bool // sandboxes end with the server
}

// Egress is the network access that the operator allows to sessions. The zero value allows none.
type Egress struct {
	Default egress.Policy // of sessions that ask for none
	Ceiling egress.Policy // the most that a caller can ask for
	Rules   egress.Rules  // of all sessions
	Limits  egress.Limits // of one session; zero fields mean the defaults
}

// Environment is what all sessions of a server share. All fields but Templates are required.
type Environment struct {
	Settings
	Driver    sandbox.Driver
	Store     Store
	Images    Images
	Templates Templates // nil: none
	Packages  *packages.Packages
	Logger    *slog.Logger
	Shelf     *shelf.Shelf
	Folders   *mirror.Folders
	Registry  Registry
	Running   *sync.WaitGroup // one for the goroutines of each session
}

// FirstKernel is the kernel that every session has.
func (s *Settings) FirstKernel() []cellhold.Kernel {
	return []cellhold.Kernel{{ID: cellhold.KernelID(s.Kernel), Spec: s.Kernel, State: cellhold.KernelStarting}}
}
