package agent

import (
	"testing"
	"time"
)

// ShortenPortLinger shortens the wait for a program after the host has sent its last byte.
func ShortenPortLinger(t testing.TB, d time.Duration) {
	before := portLinger.Swap(int64(d))
	t.Cleanup(func() { portLinger.Store(before) })
}
