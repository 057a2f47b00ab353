package process

import (
	"fmt"

	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

const (
	// streamVariable is the environment variable that names the descriptor of the kernel's stream.
	streamVariable = "CELLHOLD_STREAM"
	// streamDescriptor is that descriptor: the first one after stdin, stdout and stderr.
	streamDescriptor = 3
)

// launchStream starts a kernel that inherits one end of a stream. The agent closes its copy of that end, so
// that the stream ends with the kernel.
func (l *Launcher) launchStream(spec jupyter.KernelSpec, s kernels.LaunchSpec) (*process, error) {
	ours, theirs, err := stream.Pair()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kernels.ErrStream, err)
	}
	defer theirs.Close()
	p, err := l.launch(spec, s, theirs)
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("%w: %w", kernels.ErrStream, err)
	}
	p.stream = ours
	return p, nil
}
