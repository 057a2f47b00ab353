//go:build !linux

package embedded

import (
	"context"
	"errors"
	"fmt"

	"cellhold/internal/sandbox"
)

// Main does nothing: there are no sandboxes on this system.
func Main() {}

// New fails: gVisor runs on Linux only.
func New(o Options) (sandbox.Driver, error) {
	err := fmt.Errorf("%w: sandboxes need Linux", errOptions)
	if o.Guests != nil {
		err = errors.Join(err, o.Guests.Close())
	}
	return nil, err
}

// Check reports that the system is not Linux.
func Check(context.Context, Options) []Finding {
	return []Finding{{Name: "Linux", Detail: "this is not Linux", Fix: "run the server on Linux"}}
}
