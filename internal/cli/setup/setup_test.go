package setup

import (
	"cellhold/internal/builds"
	"cellhold/internal/guestbin"
	"cellhold/internal/runnerbin"
	"fmt"
	"strings"
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

func TestAServerThatRootStartedNeedsAllLimits(t *testing.T) {
	missing := []string{"The memory limit of a sandbox is not enforced."}
	for _, x := range []struct {
		required, accepted bool
		missing            []string
		refused            bool
	}{
		{true, false, missing, true},
		{true, true, missing, false},
		{true, false, nil, false},
		{false, false, missing, false}, // a plain user started it
	} {
		s := Settings{LimitsRequired: x.required, AcceptMissingLimits: x.accepted}
		err := s.checkLimits(x.missing)
		if (err != nil) != x.refused || err != nil && !(strings.Contains(err.Error(), missing[0]) && strings.Contains(err.Error(), "--accept-missing-limits")) {
			t.Errorf("%+v: got %v", x, err)
		}
	}
}
