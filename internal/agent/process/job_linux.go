package process

import (
	"context"
	"os"
	"syscall"
	"time"
)

// Job is a program that runs beside the kernels as a user of its own, and to its end.
type Job struct {
	Argv     []string // the first is a path
	Env      []string // all of its environment
	Dir      string   // where it runs
	UID, GID int      // a user that nobody else has: all its processes end with the job; 0 means as we do, for tests
	Keep     int      // bytes of its output that are kept, the last ones
}

// Ended says how a job ended.
type Ended struct {
	Code   int    // exit status, if it exited
	Signal int    // the signal that ended it, or 0
	Output string // the last of what it wrote to stdout and stderr; foreign text
}

// Do runs a job. When the context ends the job is killed. Nothing of it is left when Do returns:
// what it started and left behind would otherwise hold its user's rights for as long as the sandbox
// lives.
func (l *Launcher) Do(ctx context.Context, j Job) (Ended, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Ended{}, err
	}
	defer null.Close()
	output, w, err := newTail(j.Keep)
	if err != nil {
		return Ended{}, err
	}
	defer output.close()
	attr := &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env,
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if j.UID != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(j.UID), Gid: uint32(j.GID), Groups: []uint32{}}
	}
	pid, ended, err := l.reaper.start(func() (int, error) { return forkExec(j.Argv[0], j.Argv, attr) })
	w.Close()
	if err != nil {
		return Ended{}, err
	}
	defer l.reaper.release()
	var status syscall.WaitStatus
	select {
	case status = <-ended:
		l.endJob(pid, j.UID)
	case <-ctx.Done():
		l.endJob(pid, j.UID)
		status = <-ended
	}
	e := Ended{Code: status.ExitStatus(), Output: output.last(lastOutput)}
	if status.Signaled() {
		e.Code, e.Signal = 0, int(status.Signal())
	}
	return e, nil
}

// endJob kills the group of a job and every process of its user, in rounds, because one that forks
// may be faster than one look.
func (l *Launcher) endJob(pid, uid int) {
	_ = l.reaper.signal(pid, syscall.SIGKILL)
	if uid == 0 {
		return
	}
	for range killRounds {
		buried, found := l.reaper.next(), false
		for _, p := range processes() {
			if p == os.Getpid() || !alive(p) || !isOf(p, uid) {
				continue
			}
			found = true
			syscall.Kill(p, syscall.SIGKILL)
		}
		if !found {
			return
		}
		select {
		case <-buried:
		case <-time.After(killPatience):
		}
	}
	l.options.Logger.Warn("processes of a job are left", "uid", uid)
}
