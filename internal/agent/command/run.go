package command

import (
	"context"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"cellhold"
)

// command is one command.
type command struct {
	id       cellhold.CommandID
	commands *Commands
	terminal bool
	proc     Process // set before run; nil when it could not be started
	input    *input
	exited   chan struct{} // closed when the process has ended

	last int64 // number of its last event, 0 while it runs; guarded by Commands.mu
}

// run waits for the end of the process and reports it.
func (x *command) run(ctx context.Context, timeout time.Duration) {
	t := x.commands.options.Timing
	x.commands.work.Go(x.input.run)
	outputs := x.proc.Outputs()
	var pumps sync.WaitGroup
	for _, out := range outputs {
		pumps.Add(1)
		x.commands.work.Go(func() { x.read(ctx, out, pumps.Done) })
	}
	expired, stopped := x.await(ctx, timeout)
	close(x.exited)
	for _, out := range outputs {
		_ = out.SetReadDeadline(time.Now().Add(t.Quiet)) // a read in progress began without a deadline
	}
	pumps.Wait()
	x.input.stop()
	if stopped {
		return // the sandbox ends; the host sees that and records it as the cause
	}
	d := result(x.proc.Exit())
	if expired {
		d.Status, d.Cause = cellhold.CommandTimeout, fmt.Sprintf("The command and its processes were ended at its deadline of %s.", timeout)
	}
	x.commands.mu.Lock()
	defer x.commands.mu.Unlock()
	x.finish(d)
}

// finish reports the end. The caller must hold Commands.mu.
func (x *command) finish(d cellhold.CommandDoneContent) {
	s := x.commands.spool
	s.Settle(string(x.id))
	x.last = s.Keep(string(x.id), cellhold.EventCommandDone, d)
}

// await returns when the process has ended. expired reports that the deadline ended it, and stopped that the end of
// all commands ended it.
func (x *command) await(ctx context.Context, timeout time.Duration) (expired, stopped bool) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	select {
	case <-x.proc.Done():
		return false, false
	case <-ctx.Done():
		x.proc.Kill()
		return false, true
	case <-deadline.C:
	}
	if err := x.proc.Signal(syscall.SIGTERM); err != nil {
		x.commands.options.Logger.Debug("signal not sent", "command", x.id, "error", err)
	}
	patience := time.NewTimer(x.commands.options.Timing.Term)
	defer patience.Stop()
	select {
	case <-x.proc.Done():
	case <-ctx.Done():
	case <-patience.C:
	}
	x.proc.Kill() // also processes that are left when the command ended by itself
	return true, false
}

// result returns the content of the last event.
func result(code int, sig syscall.Signal) cellhold.CommandDoneContent {
	switch {
	case sig != 0:
		return cellhold.CommandDoneContent{Status: cellhold.CommandSignal, Code: exitSignal + int(sig), Signal: cellhold.SignalName(int(sig))}
	case code != 0:
		return cellhold.CommandDoneContent{Status: cellhold.CommandExit, Code: code}
	}
	return cellhold.CommandDoneContent{Status: cellhold.CommandOK}
}

// read turns one output into events until the command has ended. Then it reads and drops the output of the
// command's children, because without a reader their next write would kill them. With a terminal it only
// closes the terminal, which sends SIGHUP to the remaining programs, as users expect.
func (x *command) read(ctx context.Context, out Output, done func()) {
	defer out.Close()
	p := pump{command: x, out: out, buf: make([]byte, pumpBytes)}
	ended := p.run(ctx)
	done()
	if x.terminal {
		// Programs such as cat close their end shortly before they exit. They must not get SIGHUP then.
		select {
		case <-x.exited:
		case <-ctx.Done():
		}
		return
	}
	if ended || ctx.Err() != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { out.Close() })()
	_ = out.SetReadDeadline(time.Time{})
	_, _ = io.Copy(io.Discard, out)
}
