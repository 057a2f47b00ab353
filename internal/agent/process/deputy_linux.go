package process

import (
	"os"
	"sync"
	"syscall"
)

// Deputy is a program of ours that runs as the kernels' user, and so can be ended by user code. It
// belongs to no kernel, and ends with all else when the last kernel is cleared away.
type Deputy struct {
	launcher *Launcher
	pid      int
	done     chan struct{}
	watch    sync.WaitGroup
}

// Deputy starts a program with that file as descriptor 3. It has no other files of ours, no
// capabilities, and no way to gain any.
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

// Done is closed when it has ended.
func (h *Deputy) Done() <-chan struct{} { return h.done }

// Kill ends it and waits for its end.
func (h *Deputy) Kill() {
	_ = h.launcher.reaper.signal(h.pid, syscall.SIGKILL) // that it has ended already is no error
	h.watch.Wait()
}
