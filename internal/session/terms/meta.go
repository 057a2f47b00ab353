package terms

import (
	"maps"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
	"cellhold/internal/record"
)

// MaxMeta is the maximum size in bytes of a key or a value in the metadata of a session.
const MaxMeta = 1024

// MaxFrame is the maximum size in bytes of the parts of a Jupyter client's message.
const MaxFrame = guestapi.MaxWireMessage

// Note returns the metadata of a session with one changed entry. f gets the old value.
func Note(rec record.Session, name string, f func(old string) (string, error)) (map[string]string, error) {
	if rec.State == cellhold.SessionEnded {
		return nil, cellhold.Errorf(cellhold.NotFound, "The session has ended.")
	}
	value, err := f(rec.Meta[name])
	if err != nil {
		return nil, err
	}
	if len(value) > MaxMeta {
		return nil, cellhold.Errorf(cellhold.Invalid, "The metadata entry %.40q has %d bytes; the limit is %d.", name, len(value), MaxMeta)
	}
	meta := maps.Clone(rec.Meta) // readers have the old map
	if meta == nil {
		meta = map[string]string{}
	}
	meta[name] = value
	return meta, nil
}

// notInID matches what the id of a kernel cannot have.
var notInID = lazy.Regexp(`[^A-Za-z0-9_-]+`)

// maxID is the maximum size of a kernel's id.
const maxID = 40

// FirstKernel returns the first kernel of a session whose caller chooses a kernelspec.
func FirstKernel(spec string) cellhold.Kernel {
	id := strings.Trim(notInID().ReplaceAllString(spec, "-"), "-_")
	if id = id[:min(len(id), maxID)]; id == "" {
		id = "kernel"
	}
	return cellhold.Kernel{ID: cellhold.KernelID(id), Spec: spec, State: cellhold.KernelStarting}
}
