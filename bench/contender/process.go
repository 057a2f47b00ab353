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

// stopTime is how long a process may take to end when it is asked to, before it is killed: a server of
// ours that still destroys fifty sandboxes needs seconds.
const stopTime = 30 * time.Second

// process is a child that ends with this program, however that ends.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	log    *tail
	exited chan struct{}
	once   sync.Once
}

// start starts a program with its standard streams at our ends of pipes. Whoever calls it reads out until
// its end. Without env it has ours.
func start(dir string, env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), log: &tail{}, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, env, p.log
	p.cmd.WaitDelay = time.Second // for what a grandchild keeps open
	// A Ctrl-C is for us, who end them in order; and who kills us ends them too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Not StdoutPipe: waiting for the process would close it under its reader.
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

// stop asks the process to end, by closing its input and with SIGTERM, and kills what is left of its
// group after a while.
func (p *process) stop() {
	p.once.Do(func() {
		p.in.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(stopTime):
		}
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the group is ours, and may be empty
		<-p.exited
		p.out.Close()
	})
}

// died returns what is known of a process that ended by itself.
func (p *process) died(what string) error {
	return fmt.Errorf("%s ended: %s", what, p.log)
}

// tail keeps the end of what a process logs.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// kept is how much of a log is kept: enough for a traceback.
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

// errUnknown: the program at hand does not know a setting that the contender needs.
var errUnknown = errors.New("this build of cellhold does not have it")
