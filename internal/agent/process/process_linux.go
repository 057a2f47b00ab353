// Package process starts kernels as processes of their own user, and ends them with everything
// that they started.
//
// A kernel is told nothing and given nothing that it does not need: it has no capabilities and can
// gain none, no file descriptors of ours, a small environment, and a private directory for its
// sockets. It leads its own session, so that a signal to its group reaches what it runs.
//
// Commands are started in the same way, with pipes of ours or a terminal.
//
// As PID 1 the Launcher also buries every process that nobody waits for. All processes of the
// kernels' user die with a kernel if it is the only one and there was no command. Otherwise those die
// that are in the kernel's session or bear its mark in their environment, where we may read that; a
// process that left the session and hides its environment lives on until the sandbox ends.
//
// There is one lock, reaper.mu, held while a process is started and while one is buried.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

const (
	// mark is the environment variable that tells which kernel a process belongs to.
	mark = "CELLHOLD_KERNEL"
	// lastOutput is how long to wait for what a dead process has written.
	lastOutput = 200 * time.Millisecond
	// killPatience is how long to wait between two rounds of killing, and killRounds how many
	// there are: a fork bomb needs several, a process that the operating system cannot end
	// must not hold us for ever.
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
	UID, GID int          // who they run as; 0 means as we do, which is for tests
	Init     bool         // we are PID 1: bury every orphan, and own every process of UID
	Logger   *slog.Logger // nil discards
}

// Launcher starts kernel processes.
type Launcher struct {
	options  Options
	prefixes []string // where kernelspecs are
	reaper   *reaper
}

// New returns a Launcher. The caller closes it when all its processes have been killed.
func New(o Options) (*Launcher, error) {
	for name, v := range map[string]string{"Run": o.Run, "Dir": o.Dir, "Home": o.Home, "User": o.User, "Path": o.Path} {
		if v == "" {
			return nil, fmt.Errorf("process: Options.%s is missing", name)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := keepFiles(); err != nil {
		return nil, fmt.Errorf("look at our open files: %w", err)
	}
	// Others may pass through, to their own directory, and not look around.
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

// Close stops burying processes.
func (l *Launcher) Close() { l.reaper.close() }

// Specs are the kernelspecs of the image.
func (l *Launcher) Specs() []cellhold.KernelSpec {
	found := jupyter.KernelSpecs(l.prefixes)
	found = found[:min(len(found), guestapi.MaxKernelSpecs)]
	specs := make([]cellhold.KernelSpec, len(found))
	for i, s := range found {
		specs[i] = cellhold.KernelSpec{Name: s.Name, DisplayName: s.DisplayName, Language: s.Language}
	}
	return specs
}

// Launch starts a kernel.
func (l *Launcher) Launch(_ context.Context, s agent.LaunchSpec) (agent.Process, error) {
	spec, err := jupyter.FindKernelSpec(l.prefixes, s.Spec)
	if err != nil {
		return nil, err
	}
	dir, conn, err := l.privateDir(string(s.Kernel))
	if err != nil {
		return nil, err
	}
	p := &process{launcher: l, spec: spec, conn: conn, dir: dir, done: make(chan struct{})}
	argv := spec.Command(filepath.Join(dir, connectionFile))
	if err := p.start(argv, l.environment(dir, spec.Env, s.Env)); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return p, nil
}

const connectionFile = "kernel.json"

// privateDir makes a new directory that only the kernel's user can enter, with the connection
// file in it. It is new for every process, so nothing of an earlier one can stand in its way. It
// becomes the user's own only when we have written to it.
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

// environment is all that a kernel gets: later settings win, but for the mark.
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

// process is one kernel process; it leads a session and a process group of its own.
type process struct {
	launcher *Launcher
	spec     jupyter.KernelSpec
	conn     jupyter.Connection
	dir      string
	pid      int
	output   *tail
	done     chan struct{}
	exit     agent.Exit // fixed when done is closed
	watch    sync.WaitGroup
	kill     sync.Once
}

// start starts the process and watches it.
func (p *process) start(argv, env []string) error {
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
		Dir:   o.Dir,
		Env:   env,
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, // our own 0 and 1 may be the link to the host
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
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
	p.exit = agent.Exit{Code: status.ExitStatus(), Output: p.output.last(lastOutput)}
	if status.Signaled() {
		p.exit.Code, p.exit.Signal = 0, int(status.Signal())
	}
	close(p.done)
}

func (p *process) Spec() jupyter.KernelSpec       { return p.spec }
func (p *process) Connection() jupyter.Connection { return p.conn }
func (p *process) Done() <-chan struct{}          { return p.done }
func (p *process) Exit() agent.Exit               { return p.exit }

// Signal signals the group. The reaper's lock keeps the number from meaning another process.
func (p *process) Signal(sig syscall.Signal) error {
	return p.launcher.reaper.signal(p.pid, sig)
}

// Kill ends the process and everything that belongs to it.
func (p *process) Kill() {
	p.kill.Do(func() {
		p.Signal(syscall.SIGKILL)
		p.launcher.sweep(brood{pid: p.pid, mark: mark + "=" + filepath.Base(p.dir), alone: true})
		p.watch.Wait()
		p.output.close()
		if err := os.RemoveAll(p.dir); err != nil {
			p.launcher.options.Logger.Warn("kernel's directory not removed", "error", err)
		}
		p.launcher.reaper.release()
	})
	<-p.done
}

// lookPath finds a program as a shell would with that PATH, which is not our own.
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
