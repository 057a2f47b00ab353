package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/jupyter/stream"
)

// Launcher starts scripted kernels in this process. It has one kernelspec, which it returns for every name. For the
// name Plain the kernelspec has no renewal code. For the name Streamed it also has a command for a stream.
type Launcher struct {
	Dir    string                    // for sockets; short, because their paths are limited
	Script func() jupytertest.Script // returns the language of one process; nil means jupytertest.Toy

	mu       sync.Mutex
	memories map[cellhold.KernelID]memory // states of the kernels that Launch restores from a snapshot
	living   map[cellhold.KernelID]*process
}

// memory is the state of a toy kernel.
type memory struct {
	variables *jupytertest.Variables
	executed  int
}

// recall returns the state of a restored kernel, once. For a new kernel the state is empty.
func (l *Launcher) recall(id cellhold.KernelID) memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.memories[id]
	if !ok {
		return memory{variables: new(jupytertest.Variables)}
	}
	delete(l.memories, id)
	return memory{variables: m.variables.Clone(), executed: m.executed}
}

// memory returns a copy of the state of a running kernel.
func (l *Launcher) memory(id cellhold.KernelID) memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.living[id]
	return memory{variables: p.variables.Clone(), executed: p.kernel.Executed()}
}

func (l *Launcher) lives(id cellhold.KernelID, p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.living == nil {
		l.living = make(map[cellhold.KernelID]*process)
	}
	l.living[id] = p
}

// Plain is the name of a kernelspec without renewal code. In all other kernelspecs this code sets the variables "seed"
// and "entropy". Kernels of Streamed speak over a stream in place of sockets.
const (
	Plain    = "plain"
	Streamed = "streamed"
)

const renewal = `{"renew": "set seed {seed}\nset entropy {entropy}\nrekey {key} {session}"}`

// specOf returns the kernelspec of a name.
func specOf(name string) jupyter.KernelSpec {
	spec := jupyter.KernelSpec{Name: name, DisplayName: "Toy", Language: "toy"}
	switch name {
	case Plain:
	case Streamed:
		spec.Metadata = jupyter.Metadata{"cellhold": json.RawMessage(`{"stream": ["toy"], ` + renewal[1:])}
	default:
		spec.Metadata = jupyter.Metadata{"cellhold": json.RawMessage(renewal)}
	}
	return spec
}

// pair returns both ends of a stream.
func pair() (agent, kernel net.Conn, err error) {
	agent, file, err := stream.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	kernel, err = net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(err, agent.Close())
	}
	return agent, kernel, nil
}

var _ kernels.Launcher = (*Launcher)(nil)

// Specs returns the names of the toy kernel.
func (l *Launcher) Specs() []cellhold.KernelSpec {
	return []cellhold.KernelSpec{
		{Name: "python3", DisplayName: "Toy", Language: "toy"}, {Name: "toy", DisplayName: "Toy", Language: "toy"},
		{Name: "toyscript", DisplayName: "Toy", Language: "javascript"}, // only the name of the language differs
	}
}

// Launch starts a kernel.
func (l *Launcher) Launch(ctx context.Context, s kernels.LaunchSpec) (kernels.Process, error) {
	dir, err := os.MkdirTemp(l.Dir, "k")
	if err != nil {
		return nil, err
	}
	known := l.recall(s.Kernel)
	script := jupytertest.ToyWith(known.variables)
	if l.Script != nil {
		script = l.Script()
	}
	p := &process{
		spec: specOf(s.Spec), dir: dir, conn: jupyter.NewConnection(filepath.Join(dir, "s")),
		variables: known.variables, done: make(chan struct{}),
	}
	o := jupytertest.Options{Script: script, Executed: known.executed}
	if !s.NoStream && p.spec.StreamCommand("") != nil {
		p.stream, o.Stream, err = pair()
		p.memory = jupytertest.NewMemory()
		o.Memory = p.memory
	}
	if err == nil {
		p.kernel, err = jupytertest.StartWith(ctx, p.conn, o)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start the toy kernel: %w", err)
	}
	l.lives(s.Kernel, p)
	p.watch.Go(func() {
		code, sig := p.kernel.Wait()
		p.exit = kernels.Exit{Code: code, Signal: int(sig)}
		close(p.done)
	})
	return p, nil
}

// process presents a kernel as a process.
type process struct {
	spec      jupyter.KernelSpec
	conn      jupyter.Connection
	stream    net.Conn            // the agent's end, or nil
	memory    *jupytertest.Memory // of a kernel with a stream, or nil
	dir       string
	kernel    *jupytertest.Kernel
	variables *jupytertest.Variables
	exit      kernels.Exit // fixed when done is closed
	done      chan struct{}
	watch     sync.WaitGroup
}

func (p *process) Spec() jupyter.KernelSpec        { return p.spec }
func (p *process) Connection() jupyter.Connection  { return p.conn }
func (p *process) Stream() net.Conn                { return p.stream }
func (p *process) Done() <-chan struct{}           { return p.done }
func (p *process) Exit() kernels.Exit              { return p.exit }
func (p *process) CPU() (time.Duration, bool)      { return 0, false } // the kernel shares our process
func (p *process) ChildCPU() time.Duration         { return 0 }
func (p *process) Signal(sig syscall.Signal) error { p.kernel.Signal(sig); return nil }

func (p *process) Unsent() []byte {
	if p.memory == nil {
		return nil
	}
	return p.memory.Bytes()
}

func (p *process) Kill() {
	p.kernel.Close()
	p.watch.Wait()
	os.RemoveAll(p.dir)
}
