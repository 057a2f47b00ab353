package embedded

import (
	"cellhold/internal/sandbox/embedded/process"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// await waits for the sandbox's end and records its cause.
func (b *box) await() {
	defer b.unwatch()
	gone, filesLost := make(chan struct{}), false
	var late atomic.Bool // the driver killed the gofer after the end of the sentry
	var gofer sync.WaitGroup
	gofer.Go(func() { filesLost = b.awaitGofer(gone, &late) })
	err := b.sentry.Wait()
	close(gone)
	if err != nil { // the driver gave the sandbox up
		gofer.Wait()
		return
	}
	status, ours := b.sentry.Reap()
	exit := exitOf(status, ours)
	usage := b.usage()            // before the cgroup is removed
	const limit = 5 * time.Second // the gofer only has to notice the end
	timer := time.AfterFunc(limit, func() {
		late.Store(true)
		_ = b.gofer.Kill()
	})
	gofer.Wait()
	timer.Stop()

	b.mu.Lock()
	exit.Destroyed = b.destroyed
	exit.FilesLost = filesLost && !b.destroyed
	// Memory ran out if the host's OOM killer ended a process and the sandbox then ended abnormally. The death of a
	// kernel alone does not end the sandbox, because the agent survives it.
	exit.OOM = !exit.Destroyed && !exit.FilesLost && usage.OOMKills > 0 && (exit.Signal == int(unix.SIGKILL) || !ours)
	if !exit.Destroyed {
		exit.Message = panicMessage(b.paths)
	}
	b.exit = exit
	b.mu.Unlock()
	close(b.ended)
}

func (b *box) unwatch() {
	process.Children.Remove(b.record.Sentry.PID)
	process.Children.Remove(b.record.Gofer.PID)
	b.sentry.Close()
	b.gofer.Close()
}

// sentryTime is the time in which a sentry that is ending must end after its gofer. It needs milliseconds.
const sentryTime = time.Second

// awaitGofer waits for the end of the gofer, collects its exit status, and reports whether it ended before the sentry.
// Then it also ends the sandbox: every access to a file would give an error. gVisor itself does this only for sandboxes
// that were not restored. gone is closed when the sentry has ended.
func (b *box) awaitGofer(gone <-chan struct{}, late *atomic.Bool) (first bool) {
	if b.gofer.Wait() != nil {
		return false // the driver gave the sandbox up
	}
	status, ours := b.gofer.Reap()
	switch normal := status.Exited() && status.ExitStatus() == 0; {
	case ours: // the gofer exits with 0 when the sentry has closed its files
		first = !normal && !late.Load()
	case !isClosed(gone): // another process collects the status
		first = b.record.Sentry.Alive()
	}
	if !first {
		wait := time.NewTimer(sentryTime)
		defer wait.Stop()
		select {
		case <-gone:
			return false
		case <-wait.C:
		}
	}
	_ = b.sentry.Kill()
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// exitOf reads a sentry's exit status. It is the exit status of the agent, in a shell's form: a value above 128 is a
// signal.
func exitOf(status unix.WaitStatus, known bool) sandbox.Exit {
	switch {
	case !known:
		return sandbox.Exit{Code: -1}
	case status.Signaled():
		return sandbox.Exit{Code: -1, Signal: int(status.Signal())}
	case status.ExitStatus() > 128:
		return sandbox.Exit{Code: -1, Signal: status.ExitStatus() - 128}
	}
	return sandbox.Exit{Code: status.ExitStatus()}
}

// panicMessage quotes gVisor's panic log, if there is one.
func panicMessage(p paths) string {
	f, err := os.Open(p.panics)
	if err != nil {
		return ""
	}
	defer f.Close()
	return excerpt(f)
}
