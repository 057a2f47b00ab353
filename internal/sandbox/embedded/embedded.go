// Package embedded is the driver whose sandboxes are gVisor, linked into this very binary.
//
// Nothing else has to be installed: to make a sandbox the binary runs itself again under another
// name, and Main, called first thing in main, finds out. It needs Linux, and either root or the
// right to make user namespaces. It refuses to run a sandbox that lacks a control which New said
// would hold; it knows no sessions and no kernels, and gives no sandbox a network.
//
// Everything about a sandbox lies in one directory, written before the first process starts, so
// that a later server can adopt it or clear it away:
//
//	<Dir>/<id>/record.json   what it is, and which processes it has
//	<Dir>/<id>/lock          held by the server that owns it
//	<Dir>/<id>/in, out       FIFOs: the agent's standard input and output
//	<Dir>/<id>/bundle/       the OCI configuration
//	<Dir>/<id>/gv/           gVisor's own state
//	<Dir>/<id>/disk/         where the writable layer's unnamed file lives
//
// Snapshots are in a directory of their own, see package shelf.
package embedded

import (
	"errors"
	"log/slog"
	"path/filepath"
	"time"
)

// Options configures a Driver.
type Options struct {
	// Dir is where sandboxes keep their files while they live. Required, absolute, and short: a
	// Unix socket's path, Dir/<id>/gv/runsc-s.sock, may have 107 bytes.
	Dir string
	// Snapshots is where snapshots are kept. Absolute; empty means "snapshots" beside Dir.
	Snapshots string
	// Reserve is how many bytes of disk space a snapshot must leave free. Zero means 1 GiB, less than
	// zero that nothing is asked before.
	Reserve int64
	// Guest is the agent's binary on the host. Required. Its file name may be anything, but its
	// directory is shown to sandboxes read-only, so it should hold nothing else.
	Guest string
	// Guests has the agent's binaries of other builds, for sandboxes that were saved with them. Nil means that
	// there are none. The driver closes it, also when New fails.
	Guests Guests
	// UIDBase is the first of the 65536 host uids and gids that sandboxes run as when the
	// server is root. Zero means 200000: above what distributions give to people and their
	// containers.
	UIDBase uint32
	// StartTimeout bounds the time from starting a sandbox to the agent's first answer.
	// Zero means 30 seconds: a hundred times what it takes on an idle machine.
	StartTimeout time.Duration
	// AcceptUnheld lets a server that is root work where it cannot limit memory, CPU or processes,
	// or must run sandboxes under its own uid, as in some containers. Without it New fails there. A
	// server that is not root never can, and needs no such word.
	AcceptUnheld bool
	// Logger takes the driver's log. Nil means none.
	Logger *slog.Logger
}

// Guests keeps the agent's binaries of other builds, each in a directory of its own.
type Guests interface {
	// Find returns the path of the binary with a SHA-256 digest, given in hexadecimal digits.
	Find(digest string) (string, error)
	// Prune removes all but those with such digests and those in use.
	Prune(needed map[string]bool) error
	Close() error
}

const (
	defaultUIDBase      = 200000
	defaultStartTimeout = 30 * time.Second
	// defaultReserve is room for what a server writes in a day or two without snapshots.
	defaultReserve = 1 << 30
	// idRange is how many uids a sandbox can use: all that fit in 16 bits, as images expect.
	idRange = 65536
)

// snapshots is where snapshots are kept.
func (o Options) snapshots() string {
	if o.Snapshots != "" {
		return o.Snapshots
	}
	return filepath.Join(filepath.Dir(filepath.Clean(o.Dir)), "snapshots")
}

// reserve is what a snapshot must leave free.
func (o Options) reserve() int64 {
	if o.Reserve != 0 {
		return o.Reserve
	}
	return defaultReserve
}

// Finding is one thing that Check looked at.
type Finding struct {
	Name   string // what was looked at
	OK     bool
	Detail string // what was found, one sentence
	Fix   string // what to do about it, empty when OK
}

var errOptions = errors.New("embedded driver")
