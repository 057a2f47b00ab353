package link

import (
	"testing"
	"time"
)

// ShortenClose shortens the wait of closed streams until the end of the test.
func ShortenClose(t *testing.T, d time.Duration) {
	before := streamCloseTimeout
	streamCloseTimeout = d
	t.Cleanup(func() { streamCloseTimeout = before })
}
