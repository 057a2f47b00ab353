package process

import (
	"os"
	"sync"
	"syscall"
)

// Deputy is a program of the agent that runs as the kernels' user, so user code can end it. It belongs to
// no kernel. If a kernel ends with all other processes, the deputy ends too; see reaper.killAll.
type Deputy struct {
	launcher *Launcher
	pid      int
	done     chan struct{}
	watch    sync.WaitGroup
}

// Deputy starts a program with control as descriptor 3. The program has no other files of the agent and no
// capabilities, and cannot gain any.
func (l *Launcher) Deputy(control *os.File, argv ...string) (*Deputy, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	o := l.options
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"HOME=" + o.Home, "PATH=" + o.Path},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), control.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if o.UID != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.GID), Groups: []uint32{}}
	}
	pid, ended, err := l.reaper.startDeputy(func() (int, error) { return forkExec(argv[0], argv, attr) })
	if err != nil {
		return nil, err
	}
	h := &Deputy{launcher: l, pid: pid, done: make(chan struct{})}
	h.watch.Go(func() {
		<-ended
		close(h.done)
	})
	return h, nil
}

// Done returns a channel that is closed when the deputy has ended.
func (h *Deputy) Done() <-chan struct{} { return h.done }

// Kill ends the deputy and waits for its end.
func (h *Deputy) Kill() {
	_ = h.launcher.reaper.signal(h.pid, syscall.SIGKILL) // fails if the deputy has ended already
	h.watch.Wait()
}
