//go:build !linux

package embedded

import (
	"context"
	"errors"
	"fmt"

	"cellhold/internal/sandbox"
)

// New fails: gVisor runs on Linux only.
func New(o Options) (sandbox.Driver, error) {
	return nil, errors.Join(fmt.Errorf("%w: sandboxes need Linux", errOptions), o.closeBuilds())
}

// Check reports that the system is not Linux.
func Check(context.Context, Options) []Finding {
	return []Finding{{Name: "Linux", Detail: "this is not Linux", Fix: "run the server on Linux"}}
}
