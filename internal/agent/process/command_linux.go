package process

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"cellhold"
	"cellhold/internal/agent/command"
)

const (
	// commandMark is the environment variable that names the command of a process.
	commandMark = "CELLHOLD_COMMAND"
	// shellName is the preferred shell, and plainShell the one that every image has.
	shellName, plainShell = "/bin/bash", "/bin/sh"
	// terminalType is the default value of TERM.
	terminalType = "xterm-256color"
)

var _ command.Spawner = (*Launcher)(nil)

// program is the process of one command. It leads a session and a process group of its own.
type program struct {
	launcher *Launcher
	pid      int
	mark     string
	seen     *descendants
	streams  *streams
	done     chan struct{}
	status   syscall.WaitStatus // set when done is closed
}

// Spawn starts a command.
func (l *Launcher) Spawn(s command.Spec) (command.Process, error) {
	argv := s.Args
	if len(argv) == 0 {
		argv = []string{shell(), "-c", s.Line}
	}
	env, path := l.commandEnv(s)
	files, err := programs(argv[0], path, s.Env)
	if err != nil {
		return nil, err
	}
	st, err := l.newStreams(s.Terminal)
	if err != nil {
		return nil, err
	}
	defer st.closeTheirs()
	dir := s.Dir
	if dir == "" {
		dir = l.options.Dir
	}
	attr := &syscall.ProcAttr{Dir: dir, Env: env, Files: st.theirs(),
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: s.Terminal != nil}}
	if o := l.options; o.UID != 0 {
		// The child changes its user before it enters the directory and opens the program, so that neither
		// is reached with root's rights.
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.GID), Groups: []uint32{}}
	}
	pid, ended, err := l.startFirst(files, argv, attr)
	if err != nil {
		if s.Dir != "" {
			err = l.checkDir(attr, err)
		}
		st.close()
		return nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	p := &program{launcher: l, pid: pid, mark: commandMark + "=" + string(s.ID), seen: newDescendants(pid), streams: st, done: make(chan struct{})}
	go func() { // ends with the process
		p.status = <-ended
		close(p.done)
	}()
	return p, nil
}

// maxPathDirs bounds the directories of a PATH that a caller sets. The agent starts a process for each.
const maxPathDirs = 64

// programs returns the files that a program's name can mean. The agent is root, so it looks only into the PATH of the
// image. In a PATH of the caller, the child looks with its own rights.
func programs(name, path string, env map[string]string) ([]string, error) {
	if _, given := env["PATH"]; !given || strings.Contains(name, "/") {
		file, err := lookPath(name, path)
		return []string{file}, err
	}
	dirs := filepath.SplitList(path)
	if len(dirs) == 0 || len(dirs) > maxPathDirs {
		return nil, fmt.Errorf("%s: PATH has %d directories, and can have 1 to %d: %w", name, len(dirs), maxPathDirs, syscall.E2BIG)
	}
	for i, dir := range dirs {
		dirs[i] = filepath.Join(dir, name)
	}
	return dirs, nil
}

// startFirst starts the first of several files that exists and can be executed.
func (l *Launcher) startFirst(files, argv []string, attr *syscall.ProcAttr) (pid int, ended <-chan syscall.WaitStatus, err error) {
	var denied error
	for _, file := range files {
		pid, ended, err = l.reaper.startCommand(func() (int, error) { return forkExec(file, argv, attr) })
		if errors.Is(err, syscall.EACCES) {
			denied = err
		} else if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENOTDIR) {
			return pid, ended, err
		}
	}
	return 0, nil, cmp.Or(denied, err)
}

// checkDir returns command.ErrDir if a process with these attributes cannot enter its directory, and otherwise err. The
// agent is root, so it does not look at the directory itself: that would say what is at any path.
func (l *Launcher) checkDir(attr *syscall.ProcAttr, err error) error {
	pid, _, dirErr := l.reaper.startCommand(func() (int, error) {
		return forkExec(plainShell, []string{plainShell, "-c", ":"}, attr)
	})
	if dirErr != nil {
		return fmt.Errorf("%w: %w", command.ErrDir, dirErr)
	}
	_ = l.reaper.signal(pid, syscall.SIGKILL) // it has entered the directory, and has nothing else to do
	return err
}

// shell returns the path of the shell that runs lines.
func shell() string {
	if _, err := os.Stat(shellName); err == nil {
		return shellName
	}
	return plainShell
}

// commandEnv returns the complete environment of a command, and its PATH.
func (l *Launcher) commandEnv(s command.Spec) (env []string, path string) {
	vars := l.basics()
	if s.Terminal != nil {
		vars["TERM"] = terminalType
	}
	maps.Copy(vars, s.Env)
	vars[commandMark] = string(s.ID)
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, vars["PATH"]
}

func (p *program) PID() int                  { return p.pid }
func (p *program) Input() io.WriteCloser     { return p.streams.in }
func (p *program) Outputs() []command.Output { return p.streams.outputs }
func (p *program) Done() <-chan struct{}     { return p.done }

func (p *program) Exit() (code int, sig syscall.Signal) {
	if p.status.Signaled() {
		return 0, p.status.Signal()
	}
	return p.status.ExitStatus(), 0
}

// Signal signals the group. With a terminal it also signals the foreground group, to which a shell moves
// its programs.
func (p *program) Signal(sig syscall.Signal) error {
	p.seen.update() // the signal can end a process whose children are then no longer recognised
	err := p.launcher.reaper.signal(p.pid, sig)
	if group := p.streams.foreground(); group > 1 && group != p.pid {
		if sid, e := sessionOf(group); e == nil && sid == p.pid {
			syscall.Kill(-group, sig) // fails if the process has ended
		}
	}
	return err
}

func (p *program) Resize(t cellhold.Terminal) error { return p.streams.resize(t) }

func (p *program) Kill() {
	p.seen.update()
	if err := p.launcher.reaper.signal(p.pid, syscall.SIGKILL); err != nil {
		p.launcher.options.Logger.Debug("failed to kill the command", "error", err)
	}
	p.launcher.sweep(processTree{pid: p.pid, mark: p.mark, seen: p.seen})
	<-p.done
}

// streams are both ends of a command's pipes, or of its terminal.
type streams struct {
	in       *os.File
	outputs  []command.Output
	terminal *os.File // the agent's end; nil without a terminal
	files    []*os.File
	once     sync.Once
}

// newStreams makes three pipes, or a terminal.
func (l *Launcher) newStreams(t *cellhold.Terminal) (s *streams, err error) {
	s = &streams{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if t != nil {
		return s, s.openTerminal(*t, l.options.UID, l.options.GID)
	}
	theirs, ours, err := l.pipe()
	if err != nil {
		return nil, err
	}
	s.in, s.files = ours, append(s.files, theirs)
	for _, name := range []string{"stdout", "stderr"} {
		ours, theirs, err := l.pipe()
		if err != nil {
			return nil, err
		}
		s.outputs, s.files = append(s.outputs, command.Output{Name: name, Reader: ours}), append(s.files, theirs)
	}
	for _, f := range s.files {
		// Programs do not expect that a read or write fails because it would block.
		if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// pipe makes a pipe that belongs to the uid of commands. Otherwise commands cannot open /dev/stdin and /dev/stdout. In
// gVisor a pipe cannot change its owner, so pipe makes it under that uid.
func (l *Launcher) pipe() (r, w *os.File, err error) {
	if l.options.UID == 0 || os.Geteuid() != 0 {
		return os.Pipe()
	}
	const same = ^uintptr(0)
	setEffective := func(uid int) error {
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
			return fmt.Errorf("change to uid %d and back: %w", uid, e)
		}
		return nil
	}
	return pipeAs(l.options.UID, setEffective)
}

// pipeAs makes a pipe under another uid. setEffective changes the uid of the thread, and then changes it
// back to 0.
func pipeAs(uid int, setEffective func(uid int) error) (r, w *os.File, err error) {
	runtime.LockOSThread()
	if err := setEffective(uid); err != nil {
		runtime.UnlockOSThread()
		return nil, nil, err
	}
	r, w, err = os.Pipe()
	if e := setEffective(0); e != nil {
		if err == nil {
			r.Close()
			w.Close()
		}
		return nil, nil, errors.Join(err, e) // a thread that stays locked ends with its goroutine
	}
	runtime.UnlockOSThread()
	return r, w, err
}

// theirs returns the descriptors 0, 1 and 2 of the process.
func (s *streams) theirs() []uintptr {
	if s.terminal != nil {
		fd := s.files[0].Fd()
		return []uintptr{fd, fd, fd}
	}
	return []uintptr{s.files[0].Fd(), s.files[1].Fd(), s.files[2].Fd()}
}

// closeTheirs closes the files that only the process needs.
func (s *streams) closeTheirs() {
	s.once.Do(func() {
		for _, f := range s.files {
			f.Close()
		}
	})
}

func (s *streams) close() {
	s.closeTheirs()
	if s.in != nil {
		s.in.Close()
	}
	for _, o := range s.outputs {
		o.Close()
	}
}
