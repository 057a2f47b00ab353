package agent

import (
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
)

// interrupt asks the running cell to stop, if it is that one; no id means whichever runs. Code that belongs
// to no cell goes on. It never kills.
func (k *kernel) interrupt(only cellhold.CellID) {
	k.mu.Lock()
	c := k.cell
	if c == nil || c.ending || c.quiet != nil || only != "" && c.id != only {
		k.mu.Unlock()
		return
	}
	if !c.interrupted {
		c.interrupted = true
		k.insist(c, k.agent.options.Timing.Interrupt)
	}
	c.unanswered++
	k.mu.Unlock()
	c.life.interrupt()
}

// expire stops a cell at its deadline: by message, then by signal, then by killing the kernel.
func (k *kernel) expire(c *cell) {
	t := k.agent.options.Timing
	k.mu.Lock()
	c.expired = true
	k.insist(c, t.Interrupt)
	k.after(c, t.Interrupt+t.Kill, func() { k.giveUp(c) })
	c.unanswered++
	k.mu.Unlock()
	c.life.interrupt()
}

// insist sends the signal when the message has not helped. The signal leaves under the lock, so the
// cell is still the running one, and the kernel has not answered it. The caller holds mu.
func (k *kernel) insist(c *cell, d time.Duration) {
	k.after(c, d, func() {
		k.mu.Lock()
		if k.cell == c && !c.ending && c.reply == nil {
			c.life.signal(syscall.SIGINT)
		}
		c.unanswered = 0 // a kernel that has not answered by now does not know the message
		k.conclude(c)
	})
}

// interruptDone notes that the kernel has dealt with an interrupt. Only then may the cell end: it could
// hit the next one otherwise.
func (k *kernel) interruptDone(l *life) {
	k.mu.Lock()
	c := k.cell
	if c == nil || c.life != l || c.unanswered == 0 {
		k.mu.Unlock()
		return
	}
	c.unanswered--
	k.conclude(c)
}

// giveUp kills the kernel of a cell that did not stop. An answer that comes from now on does not
// count: it would promise variables that are about to be lost.
func (k *kernel) giveUp(c *cell) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cell == c && !c.ending {
		c.ending = true
		c.life.end(errDeadline)
	}
}

// interrupt sends the message only; the running cell's own answer tells whether it helped.
func (l *life) interrupt() {
	if _, err := l.client.Send(jupyter.Control, "interrupt_request", struct{}{}); err != nil {
		l.kernel.log.Debug("interrupt not sent", "error", err)
		l.kernel.interruptDone(l)
	}
}

func (l *life) signal(sig syscall.Signal) {
	if err := l.proc.Signal(sig); err != nil {
		l.kernel.log.Debug("signal not sent", "signal", sig, "error", err)
	}
}
