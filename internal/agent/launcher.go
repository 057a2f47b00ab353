package agent

import (
	"context"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
)

// Launcher starts kernel processes.
type Launcher interface {
	// Launch starts a kernel and returns without waiting until it is ready. The context bounds
	// the starting only. When it returns an error, nothing of the kernel is left.
	Launch(ctx context.Context, s LaunchSpec) (Process, error)

	// Specs are the sorts of kernel that it can start. Their texts are the image's, bounded in
	// nothing but number.
	Specs() []cellhold.KernelSpec
}

// LaunchSpec says which kernel to start.
type LaunchSpec struct {
	Kernel cellhold.KernelID
	Spec   string            // name of the kernelspec
	Env    map[string]string // added to the kernelspec's own
}

// Process is one kernel process. All methods may be called from any goroutine.
type Process interface {
	// Spec is the kernelspec it was started from.
	Spec() jupyter.KernelSpec

	// Connection says where it listens.
	Connection() jupyter.Connection

	// Done is closed when the process has ended.
	Done() <-chan struct{}

	// Exit says how it ended. It may be called once Done is closed.
	Exit() Exit

	// CPU is the processor time that the process itself has used so far; false when that cannot be
	// known, as of one that has ended. It is cheap. ChildCPU is that of what it has started.
	CPU() (time.Duration, bool)
	ChildCPU() time.Duration

	// Signal sends a signal to the process and its group. One that has ended is no error.
	Signal(sig syscall.Signal) error

	// Kill ends the process with everything it started, frees what it held, and returns when
	// Done is closed. It must be called also for a process that ended by itself, and may be
	// called again.
	Kill()
}

// Exit says how a kernel process ended.
type Exit struct {
	Code   int    // exit status, if it exited
	Signal int    // the signal that ended it, or 0
	Output string // the last of what it wrote to its own stdout and stderr; foreign text
}
