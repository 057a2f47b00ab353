package process

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// reaper waits for the end of processes. As PID 1 it reaps every process, orphans included; otherwise only
// the processes that it started.
type reaper struct {
	init    bool
	signals chan os.Signal
	stop    chan struct{}
	loop    sync.WaitGroup

	mu      sync.Mutex
	kernels int                             // kernels and jobs that were started and not released
	shared  bool                            // a command was started: its processes belong to no kernel
	waiting map[int]chan syscall.WaitStatus // by process id; capacity 1
	reaped  chan struct{}                   // closed when a process has been reaped; nil when no goroutine waits
}

func newReaper(init bool) *reaper {
	r := &reaper{
		init:    init,
		signals: make(chan os.Signal, 1), // one signal is enough, because reap reaps all ended processes
		stop:    make(chan struct{}),
		waiting: make(map[int]chan syscall.WaitStatus),
	}
	signal.Notify(r.signals, syscall.SIGCHLD)
	r.loop.Go(func() {
		for {
			select {
			case <-r.signals:
				r.reap()
			case <-r.stop:
				return
			}
		}
	})
	return r
}

func (r *reaper) close() {
	signal.Stop(r.signals)
	close(r.stop)
	r.loop.Wait()
}

// start starts a kernel or a job, and registers the process before it can be reaped. The caller must call release.
func (r *reaper) start(fork func() (int, error)) (pid int, ended <-chan syscall.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid, ended, err = r.fork(fork); err == nil {
		r.kernels++
	}
	return pid, ended, err
}

// startCommand is start for a command. The caller must not call release.
func (r *reaper) startCommand(fork func() (int, error)) (pid int, ended <-chan syscall.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shared = true
	return r.fork(fork)
}

// startDeputy is start for a process that belongs to no kernel. killAll also kills this process. The caller must not
// call release.
func (r *reaper) startDeputy(fork func() (int, error)) (pid int, ended <-chan syscall.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fork(fork)
}

// fork starts a process and registers it. The caller must hold mu.
func (r *reaper) fork(fork func() (int, error)) (pid int, ended <-chan syscall.WaitStatus, err error) {
	if pid, err = fork(); err != nil {
		return 0, nil, err
	}
	ch := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = ch
	return pid, ch, nil
}

// release is called when all processes of a kernel or a job have ended.
func (r *reaper) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kernels--
}

// killAll kills every process except the agent if only one kernel exists, no job runs and no command was started.
// It reports whether it did. No other process can start between the check and the kill.
func (r *reaper) killAll() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.init || r.kernels != 1 || r.shared {
		return false
	}
	syscall.Kill(-1, syscall.SIGKILL) // ESRCH means that there is no process to kill
	return true
}

// signal signals the group that a process leads, unless the process has been reaped: then its id may belong
// to another process.
func (r *reaper) signal(pid int, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[pid] == nil {
		return nil
	}
	if err := syscall.Kill(-pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// reap reaps all processes that have ended. The wait and the report are one step under the lock. Otherwise
// the id could be reused in between.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.init {
		for r.reapOne(-1) {
		}
		return
	}
	for pid := range r.waiting {
		r.reapOne(pid)
	}
}

// reapOne reaps one process, or any if pid is -1, and reports whether there was one. The caller must hold
// mu.
func (r *reaper) reapOne(pid int) bool {
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	for errors.Is(err, syscall.EINTR) {
		got, err = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	}
	if err != nil || got <= 0 {
		return false
	}
	if ch := r.waiting[got]; ch != nil {
		delete(r.waiting, got)
		ch <- status
	}
	if r.reaped != nil {
		close(r.reaped)
		r.reaped = nil
	}
	return true
}

// next returns a channel that is closed when the next process has been reaped.
func (r *reaper) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reaped == nil {
		r.reaped = make(chan struct{})
	}
	return r.reaped
}
