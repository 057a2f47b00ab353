package remote

import (
	"cellhold"
	"testing"
)

func TestTheSessionListNamesKernelsOnlyIfThereAreSeveral(t *testing.T) {
	python := cellhold.Kernel{ID: "python3", State: cellhold.KernelBusy}
	bash := cellhold.Kernel{ID: "bash", State: cellhold.KernelDead, Cause: cellhold.StatusOOM}
	for want, kernels := range map[string][]cellhold.Kernel{
		"-":                             nil,
		"busy":                          {python},
		"python3 busy, bash dead (oom)": {python, bash},
	} {
		if got := kernelStates(cellhold.Session{Kernels: kernels}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
