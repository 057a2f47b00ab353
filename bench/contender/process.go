package contender

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// stopTime is the time that a process has to end before it is killed. A server of cellhold that destroys fifty sandboxes
// needs seconds.
const stopTime = 30 * time.Second

// process is a child that ends with this program, even after a crash.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	log    *tail
	exited chan struct{}
	once   sync.Once
}

// start starts a program with pipes as its standard streams. The caller must read out until its end. An empty env means our
// own environment.
func start(dir string, env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), log: &tail{}, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, env, p.log
	p.cmd.WaitDelay = time.Second // for streams that a grandchild keeps open
	// A separate group, because this program handles Ctrl-C. Pdeathsig ends the child if this program is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// No StdoutPipe: Wait would close it while it is being read.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.out, p.cmd.Stdout = r, w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// stop closes the input of the process and sends SIGTERM. When the process has ended, or after stopTime, stop kills its
// process group.
func (p *process) stop() {
	p.once.Do(func() {
		p.in.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(stopTime):
		}
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the group belongs to us and can be empty
		<-p.exited
		p.out.Close()
	})
}

// endedError returns an error with the log of a process that ended by itself.
func (p *process) endedError(what string) error {
	return fmt.Errorf("%s ended: %s", what, p.log)
}

// tail keeps the end of a log.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// kept is the size of the kept part of a log: enough for a traceback.
const kept = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = bytes.Clone(t.text[max(0, len(t.text)-kept):])
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// errUnknown says that the program lacks a flag that the contender needs.
var errUnknown = errors.New("this version of cellhold does not have this flag")
