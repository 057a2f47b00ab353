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
	// streamVariable is the environment variable that names the descriptor of the kernel's stream, and
	// memoryVariable that of its memory.
	streamVariable = "CELLHOLD_STREAM"
	memoryVariable = "CELLHOLD_UNSENT"
	// streamDescriptor is the first descriptor after stdin, stdout and stderr.
	streamDescriptor = 3
	memoryDescriptor = 4
)

// inherited has what a kernel with a stream inherits. It is nil for a kernel that speaks ZeroMQ.
type inherited struct {
	stream *os.File // the kernel's end
	memory *memory  // nil if there is none
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

// newMemory returns the memory of a new kernel, or nil if the operating system does not allow it. Then output
// that a dying kernel has not sent is lost.
func (l *Launcher) newMemory() *memory {
	m, err := newMemory()
	if err != nil {
		l.noMemory.Do(func() { l.options.Logger.Debug("kernels have no memory for their last output", "error", err) })
	}
	return m
}

// variables returns the environment variables that name the descriptors.
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

// files returns the descriptors, from streamDescriptor on.
func (in *inherited) files() []uintptr {
	switch {
	case in == nil:
		return nil
	case in.memory == nil:
		return []uintptr{in.stream.Fd()}
	}
	return []uintptr{in.stream.Fd(), in.memory.file.Fd()}
}
