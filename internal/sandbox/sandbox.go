// Package sandbox says what a place for untrusted code must be able to do.
//
// A Driver makes such places; a Sandbox is one of them, with our agent in it. The package
// holds the contract only: it starts nothing, and it knows no sessions, kernels or users.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// ID names a sandbox. The caller chooses it before creation and the driver marks the sandbox
// with it, so that a crash between "asked" and "answered" leaves an orphan that List finds.
// It is 1 to 40 letters, digits or '-', and ids of one server all have the same length, because
// some runtimes match ids by prefix.
type ID string

// Errors that drivers mark. All others are plain.
var (
	// ErrNotFound: no sandbox of that id is alive.
	ErrNotFound = errors.New("no such sandbox")
	// ErrRetry: the operation failed for a passing reason, and may be tried again.
	ErrRetry = errors.New("worth retrying")
	// ErrSnapshot: the snapshot cannot be used here: there is none of that name, it is damaged, it is of
	// another version, host or specification. A sandbox can still be made without it.
	ErrSnapshot = errors.New("the snapshot cannot be used")
	// ErrSpace: there is not enough room on the disk for a snapshot. Nothing of it was kept.
	ErrSpace = errors.New("there is not enough room on the disk")
)

// Misfit is an ErrSnapshot with a reason.
type Misfit struct {
	Why string // the end of a sentence about the snapshot, fit for everyone: "it is damaged"
	Err error  // more for the operator, may be nil
}

func (m *Misfit) Error() string {
	if m.Err == nil {
		return fmt.Sprintf("%v: %s", ErrSnapshot, m.Why)
	}
	return fmt.Sprintf("%v: %s: %v", ErrSnapshot, m.Why, m.Err)
}

// Unwrap makes every Misfit an ErrSnapshot.
func (m *Misfit) Unwrap() []error {
	if m.Err == nil {
		return []error{ErrSnapshot}
	}
	return []error{ErrSnapshot, m.Err}
}

// Spec describes the sandbox to make. The zero value of every limit is refused by drivers:
// an unlimited sandbox must not come about by forgetting a field.
type Spec struct {
	ID     ID
	Rootfs string            // host directory of the image's files; never written to
	Image  string            // digest of the image, kept for List
	Limits Limits            // what the sandbox may use
	Data   string            // host directory shown read-only at /mnt/data; empty means none
	Labels map[string]string // kept with the sandbox and given back by List

	// From names a snapshot that the sandbox continues from; empty means a fresh one. Image, Rootfs and
	// all limits but memory and CPU must be those of the sandbox that the snapshot was taken of; see
	// Unlike.
	From string
	// Often says that many continue from it, so that whether it holds what was saved is looked at once
	// in the life of the driver, and again when it is written to, instead of each time.
	Often bool
}

// Unlike says in what a sandbox of specification s cannot continue from a snapshot of one of origin. It
// is empty if it can, as far as specifications go.
func (s Spec) Unlike(origin Spec) string {
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
			return fmt.Sprintf("its %s is %v, and not %v", c.what, c.then, c.want)
		}
	}
	return ""
}

// Limits bounds one sandbox. Sizes are in bytes.
type Limits struct {
	Memory    int64   // all memory, tmpfs included
	CPU       float64 // cores; 0.5 is half of one
	Processes int     // processes and threads that the guest's user may have
	Disk      int64   // writable layer over the image
	Tmp       int64   // /tmp, and also the bound of /dev/shm
	Output    int64   // /mnt/data/output
}

// Features says what a driver can do beyond the required.
type Features struct {
	Isolated bool     // false for drivers that only pretend (fake)
	Pause    bool     // Pause and Resume work
	Snapshot bool     // Snapshot works
	Unheld   []string // limits that this host cannot enforce, each a sentence for the operator; empty is good
}

// Info is one line of List.
type Info struct {
	ID      ID
	Alive   bool
	Created time.Time
	Image   string
	Labels  map[string]string
}

// Usage is what a sandbox has used so far. A figure that the driver cannot know is -1.
type Usage struct {
	Memory     int64         // bytes now
	MemoryPeak int64         // bytes at most; see PeakMeter
	CPU        time.Duration // processor time
	OOMKills   int64         // processes in it that the host killed for want of memory
}

// Snapshot is a saved state of a sandbox, which any number of sandboxes can continue from. It outlives
// the sandbox it was taken of, and the server.
type Snapshot struct {
	Name    string
	Created time.Time
	Size    int64             // bytes on disk
	Image   string            // digest of the image it needs
	Labels  map[string]string // those of the sandbox it was taken of
	Stale   string            // why nothing can continue from it any more; empty when something can
	Former  bool              // the agent in it is of another build than those of new sandboxes
}

// Shelf is what a Driver also is if Features says Snapshot: it keeps snapshots. All methods may be
// called from any goroutine.
type Shelf interface {
	// Snapshots lists what is there, half-made ones not included.
	Snapshots(ctx context.Context) ([]Snapshot, error)
	// RemoveSnapshot frees the space. It is idempotent: an unknown name is no error. Sandboxes that
	// continue from it go on.
	RemoveSnapshot(ctx context.Context, name string) error
}

// Marker is what a Sandbox also is if its labels can be replaced.
type Marker interface {
	Mark(ctx context.Context, labels map[string]string) error
}

// PeakMeter is what a Sandbox also is if it can measure the most memory used from some moment on.
type PeakMeter interface {
	// Peak returns the most bytes that the sandbox used since the last call that said anew, or since
	// its beginning, and starts anew if told to. An error means that this host cannot tell.
	Peak(anew bool) (int64, error)
}

// Exit says why a sandbox ended.
type Exit struct {
	Code      int    // exit status of the agent, or -1
	Signal    int    // the signal that ended it, or 0
	OOM       bool   // the host killed it for want of memory
	Destroyed bool   // Destroy ended it
	Message   string // more for the operator, may be empty; never shown to callers
}

// Driver makes sandboxes of one sort. All methods may be called from any goroutine.
type Driver interface {
	// Features says what this driver can do on this host. It does not change.
	Features() Features

	// Create makes a sandbox with the agent running in it. It may be called again with the same
	// ID after a failure. When it returns an error, nothing of the sandbox is left. A control
	// that cannot be put in place is an error, never a weaker sandbox. A driver that keeps sandboxes
	// ready returns one with an ID of its own choice; what counts is that of the Sandbox.
	//
	// With Spec.From, the sandbox goes on where the snapshot was taken: same processes, memory and
	// files, in the agent too, whose Dial works as after Adopt. Whoever made the snapshot an origin of
	// several must renew what may not be equal in them. Errors that are ErrSnapshot mean that trying
	// again is useless.
	Create(ctx context.Context, s Spec) (Sandbox, error)

	// Adopt takes over a living sandbox that another process created, ErrNotFound if it is not
	// alive. The former owner must be dead: a sandbox has one owner.
	Adopt(ctx context.Context, id ID) (Sandbox, error)

	// List returns every sandbox bearing this driver's mark, dead ones that left something
	// behind included.
	List(ctx context.Context) ([]Info, error)

	// Remove destroys what is left of a sandbox that nobody has adopted. It is idempotent:
	// an unknown id is no error.
	Remove(ctx context.Context, id ID) error

	// Close lets go of what the driver itself holds. Sandboxes stay alive.
	Close() error
}

// Sandbox is one isolated place with one agent in it. All methods may be called from any
// goroutine, and again after they succeeded.
type Sandbox interface {
	ID() ID

	// Dial opens a new byte stream to the agent, which speaks HTTP on it. The caller closes it.
	// Deadlines work on it.
	Dial(ctx context.Context) (net.Conn, error)

	// Wait blocks until the sandbox has ended and says why. An error means only that the
	// context ended.
	Wait(ctx context.Context) (Exit, error)

	// Usage says what the sandbox has used so far; ErrNotFound once it has been destroyed.
	Usage(ctx context.Context) (Usage, error)

	// Pause stops all processes, Resume lets them go on. errors.ErrUnsupported if Features
	// says no.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error

	// Snapshot saves the state under a name, in place of a snapshot of that name, whole or not at all.
	// The sandbox goes on, or stays paused if it is. Names are like IDs. errors.ErrUnsupported if
	// Features says no.
	Snapshot(ctx context.Context, name string) error

	// Destroy ends the sandbox and removes everything that belonged to it: processes, mounts,
	// cgroups, files. It is idempotent.
	Destroy(ctx context.Context) error
}
