package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/jupytertest"
)

// Launcher starts kernels that follow a script in this process. It knows one kernelspec, which it
// gives out under every name; under that of Plain it says nothing of renewal.
type Launcher struct {
	Dir    string                    // for sockets; short, because their paths are bounded
	Script func() jupytertest.Script // makes the language of one process; nil means jupytertest.Toy

	mu       sync.Mutex
	memories map[cellhold.KernelID]memory // of kernels that go on from a snapshot, until they do
	living   map[cellhold.KernelID]*process
}

// memory is what a toy kernel knows.
type memory struct {
	variables *jupytertest.Variables
	executed  int
}

// recall takes what a kernel that goes on knows; a fresh one knows nothing.
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

// memory is a copy of what a living kernel knows.
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

// Plain is a kernelspec without code of renewal. Those of all others set the variable "seed".
const Plain = "plain"

const renewal = `{"renew": "set seed {seed}\nset entropy {entropy}\nrekey {key} {session}"}`

var _ kernels.Launcher = (*Launcher)(nil)

// Specs are names that it gives the toy out under.
func (l *Launcher) Specs() []cellhold.KernelSpec {
	return []cellhold.KernelSpec{
		{Name: "python3", DisplayName: "Toy", Language: "toy"}, {Name: "toy", DisplayName: "Toy", Language: "toy"},
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
	conn := jupyter.NewConnection(filepath.Join(dir, "s"))
	k, err := jupytertest.StartWith(ctx, conn, jupytertest.Options{Script: script, Executed: known.executed})
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start the toy kernel: %w", err)
	}
	spec := jupyter.KernelSpec{Name: s.Spec, DisplayName: "Toy", Language: "toy"}
	if s.Spec != Plain {
		spec.Metadata = jupyter.Metadata{"cellhold": json.RawMessage(renewal)}
	}
	p := &process{
		spec: spec,
		conn: conn, dir: dir, kernel: k, variables: known.variables, done: make(chan struct{}),
	}
	l.lives(s.Kernel, p)
	p.watch.Go(func() {
		code, sig := k.Wait()
		p.exit = kernels.Exit{Code: code, Signal: int(sig)}
		close(p.done)
	})
	return p, nil
}

// process is a kernel that looks like a process.
type process struct {
	spec      jupyter.KernelSpec
	conn      jupyter.Connection
	dir       string
	kernel    *jupytertest.Kernel
	variables *jupytertest.Variables
	exit      kernels.Exit // fixed when done is closed
	done      chan struct{}
	watch     sync.WaitGroup
}

func (p *process) Spec() jupyter.KernelSpec        { return p.spec }
func (p *process) Connection() jupyter.Connection  { return p.conn }
func (p *process) Done() <-chan struct{}           { return p.done }
func (p *process) Exit() kernels.Exit              { return p.exit }
func (p *process) CPU() (time.Duration, bool)      { return 0, false } // it shares ours
func (p *process) ChildCPU() time.Duration         { return 0 }
func (p *process) Signal(sig syscall.Signal) error { p.kernel.Signal(sig); return nil }

func (p *process) Kill() {
	p.kernel.Close()
	p.watch.Wait()
	os.RemoveAll(p.dir)
}
