package process

import (
	"fmt"
	"os"
	"strconv"

	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

const (
	// streamVariable is the environment variable with the descriptor of the kernel's stream. memoryVariable is
	// the variable with the descriptor of its memory for unsent output.
	streamVariable = "CELLHOLD_STREAM"
	memoryVariable = "CELLHOLD_UNSENT"
	// The first two descriptors after stdin, stdout and stderr.
	streamDescriptor = 3
	memoryDescriptor = 4
)

// inherited has the files that a kernel with a stream inherits. It is nil for a kernel that speaks ZeroMQ.
type inherited struct {
	stream *os.File // the kernel's end of the stream
	memory *memory  // nil if the operating system allowed none
}

// launchStream starts a kernel that inherits one end of a stream. The agent closes its copy of that end, so
// that the stream ends with the kernel.
func (l *Launcher) launchStream(spec jupyter.KernelSpec, s kernels.LaunchSpec) (*process, error) {
	ours, theirs, err := stream.Pair()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kernels.ErrStream, err)
	}
	defer theirs.Close()
	in := &inherited{theirs, l.newMemory()}
	p, err := l.launch(spec, s, in)
	if err != nil {
		in.memory.close()
		ours.Close()
		return nil, fmt.Errorf("%w: %w", kernels.ErrStream, err)
	}
	p.stream, p.memory = ours, in.memory
	return p, nil
}

// newMemory returns the memory for unsent output of a new kernel. It returns nil if the operating system does not
// allow one. Without the memory, a kernel that dies loses its unsent output.
func (l *Launcher) newMemory() *memory {
	m, err := newMemory()
	if err != nil {
		l.noMemory.Do(func() { l.options.Logger.Debug("kernels have no memory for their last output", "error", err) })
	}
	return m
}

// variables returns the environment variables with the numbers of the descriptors.
func (in *inherited) variables() map[string]string {
	if in == nil {
		return nil
	}
	vars := map[string]string{streamVariable: strconv.Itoa(streamDescriptor), memoryVariable: ""}
	if in.memory != nil {
		vars[memoryVariable] = strconv.Itoa(memoryDescriptor)
	}
	return vars
}

// files returns the descriptors that the kernel inherits. In the kernel their numbers begin at streamDescriptor.
func (in *inherited) files() []uintptr {
	switch {
	case in == nil:
		return nil
	case in.memory == nil:
		return []uintptr{in.stream.Fd()}
	}
	return []uintptr{in.stream.Fd(), in.memory.file.Fd()}
}
