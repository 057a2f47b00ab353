package snapshots

import (
	"errors"

	"cellhold"
	"cellhold/internal/sandbox"
)

// SaveError converts an error of sandbox.Sandbox.Snapshot to an error for callers of the API.
func SaveError(err error) error {
	if m, ok := errors.AsType[*sandbox.SnapshotError](err); ok {
		return cellhold.Wrap(cellhold.Unsupported, err, "The session cannot be saved, because this server could not restore it: %s. The session continues.", m.Reason)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return cellhold.Wrap(cellhold.Unsupported, err, "The session cannot be saved: this server's driver cannot make snapshots. The session continues.")
	}
	if m, ok := errors.AsType[*sandbox.MemoryError](err); ok {
		return cellhold.Wrap(cellhold.Exhausted, err, "The session cannot be saved: to save its sockets, pipes and files could need %d MiB of memory. Its memory limit leaves %d MiB free. Close some sockets, pipes or files, or free memory. The session continues.", m.Need>>20, m.Free>>20)
	}
	if errors.Is(err, sandbox.ErrSpace) {
		return cellhold.Wrap(cellhold.Exhausted, err, "The session cannot be saved: the server's disk has too little free space, or the disk quota of the server's user is used up. Free space on this disk. The session continues.")
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be saved. The session continues. The server's log has the reason.")
}
