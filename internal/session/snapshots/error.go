package snapshots

import (
	"errors"

	"cellhold"
	"cellhold/internal/sandbox"
)

// SaveError returns the caller's error for a sandbox that could not be saved.
func SaveError(err error) error {
	if m, ok := errors.AsType[*sandbox.SnapshotError](err); ok {
		return cellhold.Wrap(cellhold.Unsupported, err, "The session cannot be saved, because this server could not restore it: %s. The session continues.", m.Reason)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return cellhold.Wrap(cellhold.Unsupported, err, "The session cannot be saved: this server's driver does not support it. The session continues.")
	}
	if m, ok := errors.AsType[*sandbox.MemoryError](err); ok {
		return cellhold.Wrap(cellhold.Exhausted, err, "The session cannot be saved: a save of its sockets, pipes and files could need %d MiB of memory, and its limit leaves %d MiB free. Close some of them, or free memory. The session continues.", m.Need>>20, m.Free>>20)
	}
	if errors.Is(err, sandbox.ErrSpace) {
		return cellhold.Wrap(cellhold.Exhausted, err, "The session cannot be saved: the server's disk is full, or the quota of its user. Free space on it. The session continues.")
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be saved. The session continues. The server's log has the reason.")
}
