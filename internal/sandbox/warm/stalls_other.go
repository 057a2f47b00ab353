//go:build !linux

package warm

import (
	"context"
	"errors"
)

// hostStalls is for Linux only, as are sandboxes.
func hostStalls(context.Context, func()) error { return errors.ErrUnsupported }
