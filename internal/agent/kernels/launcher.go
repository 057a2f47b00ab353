package kernels

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
)

// Launcher starts kernel processes.
type Launcher interface {
	// Launch starts a kernel and returns before the kernel is ready. The context bounds only the start.
	// After an error, nothing of the kernel remains. The error is ErrStream if only the start over a stream
	// failed.
	Launch(ctx context.Context, s LaunchSpec) (Process, error)

	// Specs lists the kernels that it can start. The texts come from the image and can have any length. Only
	// the number of kernels is bounded.
	Specs() []cellhold.KernelSpec
}

// LaunchSpec describes a kernel to start.
type LaunchSpec struct {
	Kernel cellhold.KernelID
	Spec   string            // name of the kernelspec
	Env    map[string]string // added to the variables of the kernelspec
	Dir    string            // working directory; empty means the launcher's

	// NoStream starts the kernel over ZeroMQ. Otherwise the kernel gets a stream if its kernelspec has a
	// command for it.
	NoStream bool
}

// ErrStream says that a kernel could not be started over a stream. It can be started with NoStream.
var ErrStream = errors.New("start over a stream")

// Process is one kernel process. Its methods are safe for concurrent use.
type Process interface {
	// Spec returns the kernelspec that it was started from.
	Spec() jupyter.KernelSpec

	// Connection returns the addresses on which it listens, unless it has a stream.
	Connection() jupyter.Connection

	// Stream returns the agent's end of the kernel's stream, or nil if the kernel speaks ZeroMQ. The caller
	// must close it, after Kill: until then it has the last messages of the kernel.
	Stream() net.Conn

	// Unsent returns a copy of the memory in which the process kept output that it had not sent. It is nil if
	// it has kept none. It can be called after Done is closed, also after Kill.
	Unsent() []byte

	// Done returns a channel that is closed when the process has ended.
	Done() <-chan struct{}

	// Exit returns how the process ended. It can be called after Done is closed.
	Exit() Exit

	// CPU returns the processor time that the process itself has used so far. The result is false when the
	// time is not known, for example after the end of the process. The call is cheap. ChildCPU returns the
	// time of the processes that it has started.
	CPU() (time.Duration, bool)
	ChildCPU() time.Duration

	// Signal sends a signal to the process and its group. If the process has ended, Signal returns no
	// error.
	Signal(sig syscall.Signal) error

	// Kill ends the process and everything that it started, frees their resources, and returns when Done is
	// closed. It must also be called for a process that ended by itself, and can be called again.
	Kill()
}

// Exit says how a kernel process ended.
type Exit struct {
	Code   int    // exit status, if it exited
	Signal int    // the signal that ended it, or 0
	Output string // the end of its output on stdout and stderr; foreign text
}
