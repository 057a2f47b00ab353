package embedded

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

// await waits for the sandbox's end and settles why it ended.
func (b *box) await() {
	defer b.unwatch()
	if err := b.sentry.wait(); err != nil {
		return // let go of
	}
	status, ours := b.sentry.reap()
	exit := exitOf(status, ours)
	usage := b.usage() // while the cgroup is still there
	b.awaitGofer()

	b.mu.Lock()
	exit.Destroyed = b.destroyed
	// Memory ran out if the host killed something for it and then the sandbox did not end by
	// itself: the agent survives the death of a kernel.
	exit.OOM = !exit.Destroyed && usage.OOMKills > 0 && (exit.Signal == int(unix.SIGKILL) || !ours)
	if !exit.Destroyed {
		exit.Message = panicked(b.paths)
	}
	b.exit = exit
	b.mu.Unlock()
	close(b.ended)
}

func (b *box) unwatch() {
	children.remove(b.record.Sentry.PID)
	children.remove(b.record.Gofer.PID)
	b.sentry.close()
	if b.gofer != nil {
		b.gofer.close()
	}
}

// awaitGofer collects the gofer, which ends by itself right after the sentry.
func (b *box) awaitGofer() {
	if b.gofer == nil {
		return
	}
	const patience = 5 * time.Second // it has nothing to do but to notice
	timer := time.AfterFunc(patience, func() { _ = b.gofer.kill() })
	defer timer.Stop()
	if b.gofer.wait() == nil {
		_, _ = b.gofer.reap()
	}
}

// exitOf reads a sentry's exit status, which is that of the agent, in a shell's way of writing it.
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

// panicked quotes what gVisor said when it broke down, if it did.
func panicked(p paths) string {
	f, err := os.Open(p.panics)
	if err != nil {
		return ""
	}
	defer f.Close()
	return excerpt(f)
}
