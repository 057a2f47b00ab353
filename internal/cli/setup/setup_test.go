package setup

import (
	"cellhold/internal/builds"
	"cellhold/internal/guestbin"
	"cellhold/internal/runnerbin"
	"fmt"
	"syscall"
	"testing"
)

func TestABinaryWithoutItsProgramsIsIncomplete(t *testing.T) {
	for err, want := range map[error]bool{
		guestbin.ErrNotBuiltIn: true, runnerbin.ErrNotBuiltIn: true, builds.ErrContent: true, syscall.ENOSPC: false,
	} {
		if got := IsIncomplete(fmt.Errorf("runner: %w", err)); got != want {
			t.Errorf("%v: got %v", err, got)
		}
	}
}
