//go:build !linux

package embedded

import (
	"context"
	"fmt"

	"cellhold/internal/sandbox"
)

// Main has nothing to do where there are no sandboxes.
func Main() {}

// New fails: gVisor runs on Linux only.
func New(Options) (sandbox.Driver, error) {
	return nil, fmt.Errorf("%w: sandboxes need Linux", errOptions)
}

// Check says so.
func Check(context.Context, Options) []Finding {
	return []Finding{{Name: "Linux", Detail: "this is not Linux", Mend: "run the server on Linux"}}
}
