//go:build !linux

package warm

import (
	"context"
	"errors"
)

// hostStalls fails: pressure stall information exists on Linux only.
func hostStalls(context.Context, func()) error { return errors.ErrUnsupported }
