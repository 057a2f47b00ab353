// Package embedded is the driver for gVisor sandboxes. gVisor is a program of its own, the runner, which the server
// carries inside.
//
// No other program has to be installed. The driver needs Linux, and either root or the permission to create user
// namespaces. It refuses to run a sandbox without a control that New promised. It knows no sessions and no kernels, and
// gives sandboxes no network.
//
// All files of a sandbox are in one directory, and the record is written before the first process starts. A later server
// can therefore adopt the sandbox or remove it:
//
//	<Dir>/<id>/record.json   the sandbox's specification and processes
//	<Dir>/<id>/lock          held by the server that owns the sandbox
//	<Dir>/<id>/in, out       FIFOs: the agent's standard input and output
//	<Dir>/<id>/bundle/       the OCI configuration
//	<Dir>/<id>/pids          the process ids that the runner reported
//	<Dir>/<id>/gv/           gVisor's own state
//	<Dir>/<id>/disk/         the unnamed file of the writable layer
//	<Dir>/<id>/panic.log     gVisor's message, if gVisor panicked
//
// Snapshots are in a directory of their own: see package snapshots.
package embedded

import (
	"errors"
	"log/slog"
	"path/filepath"
	"time"
)

// Options configures a Driver.
type Options struct {
	// Dir is the directory for the files of running sandboxes. It is required, absolute and short: the path of a Unix
	// socket, Dir/<id>/gv/runsc-s.sock, has at most 107 bytes.
	Dir string
	// Snapshots is the absolute path of the directory for snapshots. Empty means "snapshots" next to Dir.
	Snapshots string
	// Reserve is the disk space in bytes that a snapshot must leave free. 0 means 1 GiB. A negative value disables the
	// check.
	Reserve int64
	// Guest is the path of the agent's binary on the host. It is required. Sandboxes see its directory read-only, so
	// the directory should contain no other file.
	Guest string
	// Guests finds the agents of other builds, for snapshots that were made with them. Nil means that there are none.
	// The driver closes it, also if New fails.
	Guests Builds
	// Runner is the path of cmd/cellhold-runner, the program that runs gVisor. It is required.
	Runner string
	// RunnerDigest is the SHA-256 digest of Runner in hexadecimal. Snapshots name it. Without it, only a runner with the
	// same gVisor restores them.
	RunnerDigest string
	// Runners finds the runners of other builds, as Guests finds agents.
	Runners Builds
	// UIDBase is the first of the 65536 host uids and gids of sandboxes, if the server runs as root. 0 means 200000:
	// above the ids that distributions give to users and their containers.
	UIDBase uint32
	// StartTimeout bounds the time from the start of a sandbox to the agent's first answer. 0 means 30 seconds: a
	// hundred times the usual time on an idle machine.
	StartTimeout time.Duration
	// AcceptUnenforced concerns a server that runs as root, for example in a container. It allows the server to start
	// if it cannot limit memory, CPU or processes, or must run sandboxes under its own uid. Without it, New fails in
	// these cases. For a server that does not run as root it has no effect: such a server starts without the limits
	// that it cannot enforce.
	AcceptUnenforced bool
	// Private says that no other process continues the sandboxes of this driver. Then the agent of each sandbox ends the
	// sandbox when this process ends, also if it is killed, or when the driver is closed.
	Private bool
	// Logger receives the driver's log. Nil means no log.
	Logger *slog.Logger
}

// Builds stores builds of a program, each in its own directory.
type Builds interface {
	// Find returns the path of the binary with a SHA-256 digest in hexadecimal.
	Find(digest string) (string, error)
	// Prune removes all binaries except those with these digests and those in use.
	Prune(needed map[string]bool) error
	Close() error
}

// closeBuilds closes the builds of the agent and of the runner.
func (o Options) closeBuilds() error {
	var errs []error
	for _, b := range []Builds{o.Guests, o.Runners} {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	return errors.Join(errs...)
}

const (
	defaultUIDBase      = 200000
	defaultStartTimeout = 30 * time.Second
	// defaultReserve is enough for the other writes of a server in a day or two.
	defaultReserve = 1 << 30
	// idRange is the number of uids of a sandbox: all 16-bit ids, as images expect.
	idRange = 65536
)

// snapshots returns the directory for snapshots.
func (o Options) snapshots() string {
	if o.Snapshots != "" {
		return o.Snapshots
	}
	return filepath.Join(filepath.Dir(filepath.Clean(o.Dir)), "snapshots")
}

// reserve returns the disk space that a snapshot must leave free.
func (o Options) reserve() int64 {
	if o.Reserve != 0 {
		return o.Reserve
	}
	return defaultReserve
}

// Finding is the result of one check of Check.
type Finding struct {
	Name   string // the subject of the check
	OK     bool
	Detail string // the result, one sentence
	Fix    string // how to fix it; empty if OK
}

var errOptions = errors.New("embedded driver")
