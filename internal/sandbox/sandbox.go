// Package sandbox defines the contract of sandboxes for untrusted code.
//
// A Driver creates sandboxes; a Sandbox is one of them, with our agent in it. The package contains only the contract: it
// starts nothing, and it knows no sessions, kernels or users.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// ID identifies a sandbox. The caller chooses it before the creation, and the driver marks the sandbox with it: if the
// server crashes before Create returns, List finds the sandbox. An id has 1 to 40 letters, digits or '-'. All ids of a
// server have the same length, because some runtimes match ids by prefix.
type ID string

// Errors that drivers wrap. All other errors are unclassified.
var (
	// ErrNotFound: no sandbox with this id is running.
	ErrNotFound = errors.New("no such sandbox")
	// ErrSnapshot: the snapshot cannot be restored here. It does not exist, it is damaged, or it belongs to another
	// version, host or specification. A sandbox can still be created without it.
	ErrSnapshot = errors.New("the snapshot cannot be used")
	// ErrSpace: the disk has too little space for a snapshot. No part of it was kept.
	ErrSpace = errors.New("not enough disk space")
)

// SnapshotError is an ErrSnapshot with a reason.
type SnapshotError struct {
	Reason string // the end of a sentence about the snapshot, for callers: "it is damaged"
	Err    error  // details for the operator; can be nil
}

func (m *SnapshotError) Error() string {
	if m.Err == nil {
		return fmt.Sprintf("%v: %s", ErrSnapshot, m.Reason)
	}
	return fmt.Sprintf("%v: %s: %v", ErrSnapshot, m.Reason, m.Err)
}

// Unwrap makes every SnapshotError an ErrSnapshot.
func (m *SnapshotError) Unwrap() []error {
	if m.Err == nil {
		return []error{ErrSnapshot}
	}
	return []error{ErrSnapshot, m.Err}
}

// MemoryError says that a save could need more memory than the limit of the sandbox leaves free. The sandbox continues.
type MemoryError struct{ Need, Free int64 } // in bytes

func (m *MemoryError) Error() string {
	return fmt.Sprintf("a save can need %d MB of memory, and %d MB are free", m.Need>>20, m.Free>>20)
}

// Spec describes a sandbox to create. Drivers refuse the zero value of every limit: a forgotten field must not create an
// unlimited sandbox.
type Spec struct {
	ID     ID
	Rootfs string            // host directory of the image's files; never written to
	Image  string            // digest of the image, kept for List
	Limits Limits            // what the sandbox can use
	Data   string            // host directory shown read-only at /mnt/data; empty: none
	Labels map[string]string // stored with the sandbox; List returns them

	// From is the name of the snapshot to restore; empty means a new sandbox. Image, Rootfs and all limits except memory
	// and CPU must be those of the snapshot's sandbox: see Mismatch.
	From string
	// Often says that many sandboxes are restored from the snapshot. The driver then checks the snapshot's content once,
	// and again after its files change, instead of at each restore.
	Often bool
	// Asked is the time at which the caller asked for the sandbox. A driver that lets creations wait serves them in this
	// order. The zero time means the time of the call. It is not stored.
	Asked time.Time `json:"-"`
}

// Mismatch returns why a sandbox with the specification s cannot be restored from a snapshot of a sandbox with the
// specification origin. It returns "" if the specifications match.
func (s Spec) Mismatch(origin Spec) string {
	for _, c := range []struct {
		what       string
		then, want any
	}{
		{"image", origin.Image, s.Image},
		{"root file system", origin.Rootfs, s.Rootfs},
		{"limit of processes", origin.Limits.Processes, s.Limits.Processes},
		{"disk size", origin.Limits.Disk, s.Limits.Disk},
		{"size of /tmp", origin.Limits.Tmp, s.Limits.Tmp},
		{"size of the output folder", origin.Limits.Output, s.Limits.Output},
		{"having a data folder", origin.Data != "", s.Data != ""},
	} {
		if c.then != c.want {
			return fmt.Sprintf("its %s is %v, not %v", c.what, c.then, c.want)
		}
	}
	return ""
}

// Limits bounds one sandbox. Sizes are in bytes.
type Limits struct {
	Memory    int64   // all memory, including tmpfs
	CPU       float64 // cores; 0.5 is half a core
	Processes int     // processes and threads of the guest's user
	Disk      int64   // writable layer over the image
	Tmp       int64   // /tmp, also the limit of /dev/shm
	Output    int64   // /mnt/data/output
}

// Features are the optional abilities of a driver.
type Features struct {
	Isolated   bool     // false for drivers without isolation (fake)
	Pause      bool     // Pause and Resume work
	Snapshot   bool     // Snapshot works
	Unenforced []string // limits that this host cannot enforce, each as a sentence for the operator
}

// Info describes one sandbox in List.
type Info struct {
	ID      ID
	Alive   bool
	Created time.Time
	Image   string
	Labels  map[string]string
}

// Usage is what a sandbox has used so far. A figure is -1 if the driver cannot measure it.
type Usage struct {
	Memory     int64         // bytes now
	MemoryPeak int64         // highest bytes so far; see PeakMeter
	CPU        time.Duration // processor time
	OOMKills   int64         // processes that the host's OOM killer ended
}

// Snapshot is the saved state of a sandbox. Any number of sandboxes can be restored from it. It outlives the sandbox and
// the server.
type Snapshot struct {
	Name    string
	Created time.Time
	Size    int64             // bytes on disk
	Image   string            // digest of the required image
	Labels  map[string]string // labels of the saved sandbox
	Stale   string            // why it cannot be restored any more; empty if it can
	Former  bool              // its agent or its isolation is of another version than that of new sandboxes
}

// SnapshotStore stores snapshots. A Driver implements it if Features.Snapshot is set. All methods can be called from any goroutine.
type SnapshotStore interface {
	// Snapshots lists the complete snapshots.
	Snapshots(ctx context.Context) ([]Snapshot, error)
	// RemoveSnapshot deletes a snapshot. An unknown name is not an error. Sandboxes that were restored from it continue.
	RemoveSnapshot(ctx context.Context, name string) error
}

// Marker is implemented by sandboxes whose labels can be replaced.
type Marker interface {
	Mark(ctx context.Context, labels map[string]string) error
}

// PeakMeter is implemented by sandboxes that can measure the highest memory use of a period.
type PeakMeter interface {
	// Peak returns the highest memory use in bytes since the last call with reset, or since the start of the sandbox. With
	// reset it starts a new period. An error means that this host cannot measure it.
	Peak(reset bool) (int64, error)
}

// Exit is the cause of a sandbox's end.
type Exit struct {
	Code      int    // exit status of the agent, or -1
	Signal    int    // the signal that ended it, or 0
	OOM       bool   // the host's OOM killer ended it
	FilesLost bool   // the process that serves its files ended first
	Destroyed bool   // Destroy ended it
	Message   string // details for the operator, possibly empty; never shown to callers
}

// Driver creates sandboxes of one kind. All methods can be called from any goroutine.
type Driver interface {
	// Features returns what this driver can do on this host. The result never changes.
	Features() Features

	// Create creates a sandbox with a running agent. It can be called again with the same ID after a failure. If it
	// returns an error, nothing of the sandbox is left. A control that cannot be enforced is an error, never a weaker
	// sandbox. A driver that keeps sandboxes ready chooses the ID itself; the ID of the returned Sandbox counts.
	//
	// With Spec.From, the sandbox continues from the snapshot: with its processes, memory and files, and with its agent,
	// to which Dial connects as after Adopt. If several sandboxes are restored from one snapshot, the caller must renew
	// everything that must differ between them. After an ErrSnapshot, a retry is useless.
	Create(ctx context.Context, s Spec) (Sandbox, error)

	// Adopt takes over a running sandbox that another process created. It returns ErrNotFound if the sandbox is not
	// running. The former owner must be dead: a sandbox has one owner.
	Adopt(ctx context.Context, id ID) (Sandbox, error)

	// List returns every sandbox with this driver's mark, including dead ones that left something behind.
	List(ctx context.Context) ([]Info, error)

	// Remove destroys the remains of a sandbox that is not adopted. An unknown id is not an error.
	Remove(ctx context.Context, id ID) error

	// Close releases the driver's own resources. Sandboxes continue to run.
	Close() error
}

// Sandbox is one isolated environment with one agent. All methods can be called from any goroutine, and again after they
// succeeded.
type Sandbox interface {
	ID() ID

	// Dial opens a new byte stream to the agent, which speaks HTTP on it. The caller must close it. Deadlines work.
	Dial(ctx context.Context) (net.Conn, error)

	// Wait blocks until the sandbox has ended, and returns the cause. An error means only that ctx ended.
	Wait(ctx context.Context) (Exit, error)

	// Usage returns what the sandbox has used so far, or ErrNotFound after Destroy.
	Usage(ctx context.Context) (Usage, error)

	// Pause stops all processes, and Resume lets them continue. Both return errors.ErrUnsupported if Features.Pause is
	// not set.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error

	// Snapshot saves the state under a name. It replaces a snapshot of that name atomically. The sandbox continues, or
	// stays paused, also after an error. Names have the form of IDs. It returns errors.ErrUnsupported if Features.Snapshot
	// is not set, and a *MemoryError if the save could exceed the memory limit.
	Snapshot(ctx context.Context, name string) error

	// Destroy ends the sandbox and removes all its processes, mounts, cgroups and files. It is idempotent.
	Destroy(ctx context.Context) error
}
