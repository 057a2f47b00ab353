package process

import (
	"context"
	"os"
	"syscall"
	"time"
)

// Job is a program that runs to its end outside the kernels, as its own user.
type Job struct {
	Argv     []string // the first one is the path of the program
	Env      []string // its complete environment
	Dir      string   // its working directory
	UID, GID int      // its own user, whose processes all end with the job; 0 means the agent's user, for tests
	Keep     int      // number of the last bytes of its output to keep
}

// Ended says how a job ended.
type Ended struct {
	Code   int    // exit status, if it exited
	Signal int    // the signal that ended it, or 0
	Output string // the end of its output on stdout and stderr; foreign text
}

// Do runs a job. When the context ends, the job is killed. No process of the job remains when Do returns,
// because it would keep its user's rights until the sandbox ends.
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

// endJob kills the group of a job and every process of its user. It does so in rounds, because a process
// that forks can escape one round.
func (l *Launcher) endJob(pid, uid int) {
	_ = l.reaper.signal(pid, syscall.SIGKILL)
	if uid == 0 {
		return
	}
	for range killRounds {
		ended, found := l.reaper.next(), false
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
		case <-ended:
		case <-time.After(killPatience):
		}
	}
	l.options.Logger.Warn("processes of a job could not be killed", "uid", uid)
}
