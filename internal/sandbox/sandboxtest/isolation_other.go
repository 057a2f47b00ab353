//go:build !linux

package sandboxtest

import "testing"

func (s *suite) isolation(t *testing.T) { t.Skip("sandboxes that isolate need Linux") }
