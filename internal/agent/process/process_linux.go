// Package process starts kernels as processes of their own user, and ends them with all processes that they
// started.
//
// A kernel gets only what it needs: a small environment, and a private directory for its sockets. It has no
// capabilities and can gain none, and inherits no file descriptors of the agent. It leads its own session,
// so that a signal to its group reaches its children. If its kernelspec has a command for a stream, the kernel also
// inherits one end of a stream, which replaces its sockets. It then also inherits memory for output that it has not
// sent.
//
// Commands are started in the same way, with pipes of the agent or a terminal.
//
// As PID 1 the Launcher also reaps every orphan. If a kernel is the only one and there was no command, all
// processes of the kernels' user die with it. Otherwise only those processes die that are in the kernel's session,
// or that have its mark, a variable, in their environment. The agent cannot read the environment of every process.
// So a process that left the session and hides its environment runs until the sandbox ends.
//
// There is one lock, reaper.mu, held while a process is started and while one is reaped.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

const (
	// mark is the environment variable that names the kernel of a process.
	mark = "CELLHOLD_KERNEL"
	// lastOutput is how long the agent waits for the output of a dead process.
	lastOutput = 200 * time.Millisecond
	// killPatience is the wait between two rounds of kills, and killRounds the number of rounds. A fork
	// bomb needs several rounds. A process that the operating system cannot end must not block the agent
	// forever.
	killPatience = 20 * time.Millisecond
	killRounds   = 100
)

// Options configures a Launcher.
type Options struct {
	Run      string       // directory for the kernels' private directories; made if it is missing; required
	Dir      string       // working directory of kernels; required
	Home     string       // their HOME; required
	User     string       // their USER; required
	Path     string       // their PATH, which also says where kernelspecs are; required
	UID, GID int          // their user; 0 means the agent's user, for tests
	Init     bool         // the agent is PID 1: it reaps every orphan and controls every process of UID
	Logger   *slog.Logger // nil discards
}

// Launcher starts kernel processes.
type Launcher struct {
	options  Options
	prefixes []string // directories with kernelspecs
	reaper   *reaper
	noMemory sync.Once // logs once that kernels get no memory for unsent output
}

// New returns a Launcher. The caller must close it after all its processes have been killed.
func New(o Options) (*Launcher, error) {
	for name, v := range map[string]string{"Run": o.Run, "Dir": o.Dir, "Home": o.Home, "User": o.User, "Path": o.Path} {
		if v == "" {
			return nil, fmt.Errorf("process: Options.%s is missing", name)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := closeFilesOnExec(); err != nil {
		return nil, fmt.Errorf("protect the agent's open files: %w", err)
	}
	// Other users can enter it to reach their own directory, but cannot list it.
	if err := os.MkdirAll(o.Run, 0o711); err != nil {
		return nil, fmt.Errorf("make the directory of kernels: %w", err)
	}
	l := &Launcher{options: o, reaper: newReaper(o.Init)}
	for _, bin := range filepath.SplitList(o.Path) {
		if p := filepath.Dir(filepath.Clean(bin)); filepath.IsAbs(bin) && !slices.Contains(l.prefixes, p) {
			l.prefixes = append(l.prefixes, p)
		}
	}
	return l, nil
}

// Close stops reaping.
func (l *Launcher) Close() { l.reaper.close() }

// Specs returns the kernelspecs of the image.
func (l *Launcher) Specs() []cellhold.KernelSpec {
	found := jupyter.KernelSpecs(l.prefixes)
	found = found[:min(len(found), guestapi.MaxKernelSpecs)]
	specs := make([]cellhold.KernelSpec, len(found))
	for i, s := range found {
		specs[i] = cellhold.KernelSpec{Name: s.Name, DisplayName: s.DisplayName, Language: s.Language}
	}
	return specs
}

// Launch starts a kernel, over a stream if its kernelspec has a command for it.
func (l *Launcher) Launch(_ context.Context, s kernels.LaunchSpec) (kernels.Process, error) {
	spec, err := jupyter.FindKernelSpec(l.prefixes, s.Spec)
	if err != nil {
		return nil, err
	}
	var p *process
	if !s.NoStream && spec.StreamCommand("") != nil {
		p, err = l.launchStream(spec, s)
	} else {
		p, err = l.launch(spec, s, nil)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// launch starts a kernel.
func (l *Launcher) launch(spec jupyter.KernelSpec, s kernels.LaunchSpec, in *inherited) (*process, error) {
	dir, conn, err := l.privateDir(string(s.Kernel))
	if err != nil {
		return nil, err
	}
	p := &process{launcher: l, spec: spec, conn: conn, dir: dir, cwd: cmp.Or(s.Dir, l.options.Dir), done: make(chan struct{})}
	argv := spec.Command(filepath.Join(dir, connectionFile))
	if in != nil {
		argv = spec.StreamCommand(filepath.Join(dir, connectionFile))
	}
	if err := p.start(argv, l.environment(dir, spec.Env, s.Env, in.variables()), in); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return p, nil
}

const connectionFile = "kernel.json"

// privateDir makes a new directory that only the kernel's user can enter, with the connection file in it.
// Each process gets a new directory, so that files of an earlier one are not in the way. The user becomes
// its owner after the agent has written the file.
func (l *Launcher) privateDir(kernel string) (dir string, conn jupyter.Connection, err error) {
	if dir, err = os.MkdirTemp(l.options.Run, kernel+"-"); err != nil {
		return "", conn, fmt.Errorf("make the kernel's directory: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	conn = jupyter.NewConnection(filepath.Join(dir, "k"))
	file := filepath.Join(dir, connectionFile)
	if err = conn.WriteFile(file, 0o600); err != nil {
		return "", conn, err
	}
	if l.options.UID != 0 {
		err = errors.Join(os.Lchown(file, l.options.UID, l.options.GID), os.Lchown(dir, l.options.UID, l.options.GID))
	}
	return dir, conn, err
}

// environment returns the complete environment of a kernel. Later settings have priority, except for the
// mark.
func (l *Launcher) environment(dir string, more ...map[string]string) []string {
	vars := l.basics()
	for _, m := range more {
		for name, value := range m {
			if name != "" && !strings.ContainsAny(name, "=\x00") && !strings.Contains(value, "\x00") {
				vars[name] = value
			}
		}
	}
	vars[mark] = filepath.Base(dir)
	env := make([]string, 0, len(vars))
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// process is one kernel process. It leads a session and a process group of its own.
type process struct {
	launcher *Launcher
	spec     jupyter.KernelSpec
	conn     jupyter.Connection
	stream   net.Conn // the agent's end, or nil
	memory   *memory  // of a kernel with a stream, or nil
	dir      string   // private directory
	cwd      string   // working directory
	pid      int
	output   *tail
	done     chan struct{}
	exit     kernels.Exit // set when done is closed
	watch    sync.WaitGroup
	kill     sync.Once
}

// start starts the process and waits for its end on another goroutine.
func (p *process) start(argv, env []string, in *inherited) error {
	o := p.launcher.options
	file, err := lookPath(argv[0], o.Path)
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	output, w, err := newTail(tailBytes)
	if err != nil {
		return err
	}
	defer w.Close()
	attr := &syscall.ProcAttr{
		Dir:   p.cwd,
		Env:   env,
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, // the agent's own 0 and 1 may be the link to the host
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	attr.Files = append(attr.Files, in.files()...)
	if o.UID != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.GID), Groups: []uint32{}}
	}
	pid, ended, err := p.launcher.reaper.start(func() (int, error) { return forkExec(file, argv, attr) })
	if err != nil {
		output.close()
		return err
	}
	p.pid, p.output = pid, output
	p.watch.Go(func() { p.await(ended) })
	return nil
}

// await records how the process ended.
func (p *process) await(ended <-chan syscall.WaitStatus) {
	status := <-ended
	p.exit = kernels.Exit{Code: status.ExitStatus(), Output: p.output.last(lastOutput)}
	if status.Signaled() {
		p.exit.Code, p.exit.Signal = 0, int(status.Signal())
	}
	close(p.done)
}

func (p *process) Spec() jupyter.KernelSpec       { return p.spec }
func (p *process) Connection() jupyter.Connection { return p.conn }
func (p *process) Stream() net.Conn               { return p.stream }
func (p *process) Unsent() []byte                 { return p.memory.close() }
func (p *process) Done() <-chan struct{}          { return p.done }
func (p *process) Exit() kernels.Exit             { return p.exit }

// Signal signals the group. The reaper's lock ensures that the id does not belong to a new process.
func (p *process) Signal(sig syscall.Signal) error {
	return p.launcher.reaper.signal(p.pid, sig)
}

// Kill ends the process and all processes that belong to it.
func (p *process) Kill() {
	p.kill.Do(func() {
		p.Signal(syscall.SIGKILL)
		p.launcher.sweep(processTree{pid: p.pid, mark: mark + "=" + filepath.Base(p.dir), alone: true})
		p.watch.Wait()
		p.output.close()
		p.memory.close()
		if err := os.RemoveAll(p.dir); err != nil {
			p.launcher.options.Logger.Warn("failed to remove the kernel's directory", "error", err)
		}
		p.launcher.reaper.release()
	})
	<-p.done
}

// lookPath finds a program in a PATH as a shell would. It does not use the agent's own PATH.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w in %s", name, fs.ErrNotExist, path)
}
