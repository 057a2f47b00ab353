package guest_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cellhold/internal/guestapi"
)

// TestALargeEventDelaysNoCell: the answer on the connection comes after the event, whose end the guest decides.
func TestALargeEventDelaysNoCell(t *testing.T) {
	var byRequest, byLine atomic.Int32
	k := talker(t, &byRequest, func(string) string {
		byLine.Add(1)
		return strings.Repeat("x", 1<<20) // without an end
	}).Kernel("k")
	follow(t, k)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // an answer on the connection is awaited for 30 s
	defer cancel()
	for range tries {
		if byLine.Load() > 0 {
			break
		}
		if err := k.Execute(ctx, guestapi.Execute{Cell: "c1"}); err != nil {
			t.Fatalf("a cell whose answer comes after a large event: %v", err)
		}
	}
	before := byRequest.Load()
	if err := k.Execute(ctx, guestapi.Execute{Cell: "c2"}); err != nil || byLine.Load() != 1 || byRequest.Load() != before+1 {
		t.Errorf("a cell while a large event arrives: %v, with %d cells on the connection and %d requests more; want 1 and 1",
			err, byLine.Load(), byRequest.Load()-before)
	}
}
