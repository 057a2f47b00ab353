package embedded

import (
	"cellhold/internal/sandbox/embedded/process"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// await waits for the sandbox's end and records its cause.
func (b *box) await() {
	defer b.unwatch()
	if err := b.sentry.Wait(); err != nil {
		return // the driver gave the sandbox up
	}
	status, ours := b.sentry.Reap()
	exit := exitOf(status, ours)
	usage := b.usage() // before the cgroup is removed
	b.awaitGofer()

	b.mu.Lock()
	exit.Destroyed = b.destroyed
	// Memory ran out if the host's OOM killer ended a process and the sandbox then ended abnormally. The death of a
	// kernel alone does not end the sandbox, because the agent survives it.
	exit.OOM = !exit.Destroyed && usage.OOMKills > 0 && (exit.Signal == int(unix.SIGKILL) || !ours)
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
	if b.gofer != nil {
		b.gofer.Close()
	}
}

// awaitGofer waits for the end of the gofer, and collects its exit status. The gofer ends right after the sentry.
func (b *box) awaitGofer() {
	if b.gofer == nil {
		return
	}
	const limit = 5 * time.Second // the gofer only has to notice the end
	timer := time.AfterFunc(limit, func() { _ = b.gofer.Kill() })
	defer timer.Stop()
	if b.gofer.Wait() == nil {
		_, _ = b.gofer.Reap()
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
