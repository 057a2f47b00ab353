package kernels

import (
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
)

// Interrupt asks the running cell to stop, if only is its id or empty. It does not stop code of the agent,
// and it never kills.
func (k *Kernel) Interrupt(only cellhold.CellID) {
	k.mu.Lock()
	c := k.cell
	if c == nil || c.ending || c.quiet != nil || only != "" && c.id != only {
		k.mu.Unlock()
		return
	}
	if !c.interrupted {
		c.interrupted = true
		k.signalAfter(c, k.options.Timing.Interrupt)
	}
	c.unanswered++
	k.mu.Unlock()
	c.process.interrupt()
}

// expire stops a cell at its deadline: by message, then by signal, then by killing the kernel.
func (k *Kernel) expire(c *cell) {
	t := k.options.Timing
	k.mu.Lock()
	c.expired = true
	k.signalAfter(c, t.Interrupt)
	k.after(c, t.Interrupt+t.Kill, func() { k.killAtDeadline(c) })
	c.unanswered++
	k.mu.Unlock()
	c.process.interrupt()
}

// signalAfter sends the signal if the message has not helped. It sends it under the lock, so that the cell
// is still running and not answered yet. The caller must hold mu.
func (k *Kernel) signalAfter(c *cell, d time.Duration) {
	k.after(c, d, func() {
		k.mu.Lock()
		if k.cell == c && !c.ending && c.reply == nil {
			c.process.signal(syscall.SIGINT)
		}
		c.unanswered = 0 // a kernel that has not answered by now does not support the message
		k.conclude(c)
	})
}

// interruptDone records that the kernel has handled an interrupt. Before that the cell must not end, or the
// interrupt could hit the next cell.
func (k *Kernel) interruptDone(p *process) {
	k.mu.Lock()
	c := k.cell
	if c == nil || c.process != p || c.unanswered == 0 {
		k.mu.Unlock()
		return
	}
	c.unanswered--
	k.conclude(c)
}

// killAtDeadline kills the kernel of a cell that did not stop. Later answers are ignored: they would report variables
// that are about to be lost.
func (k *Kernel) killAtDeadline(c *cell) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cell == c && !c.ending {
		c.ending = true
		c.process.end(errDeadline)
	}
}

// interrupt sends only the message. The running cell's own answer shows whether it helped.
func (p *process) interrupt() {
	if _, err := p.client.Send(jupyter.Control, "interrupt_request", struct{}{}); err != nil {
		p.kernel.log.Debug("interrupt not sent", "error", err)
		p.kernel.interruptDone(p)
	}
}

func (p *process) signal(sig syscall.Signal) {
	if err := p.proc.Signal(sig); err != nil {
		p.kernel.log.Debug("signal not sent", "signal", sig, "error", err)
	}
}
