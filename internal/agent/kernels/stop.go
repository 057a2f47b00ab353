package kernels

import (
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
)

// Interrupt asks the running cell to stop. If only is not empty, it stops only the cell with that id. It does
// not stop code of the agent, and it never kills.
func (k *Kernel) Interrupt(only cellhold.CellID) {
	k.mu.Lock()
	c := k.cell
	if c == nil || c.ending || c.quiet != nil || only != "" && c.id != only {
		k.mu.Unlock()
		return
	}
	c.interrupted = true
	k.signalAfter(c, k.options.Timing.Interrupt) // then the cell no longer waits for the answer to the message
	c.unanswered++
	k.mu.Unlock()
	c.process.interrupt()
}

// expire stops a cell at its deadline: by message, then by signal, then by killing the kernel.
func (k *Kernel) expire(c *cell) {
	t := k.options.Timing
	k.mu.Lock()
	if k.cell != c || c.ending { // it has ended since the timer has fired
		k.mu.Unlock()
		return
	}
	c.expired = true
	k.signalAfter(c, t.Interrupt)
	k.after(c, t.Interrupt+t.Kill, func() { k.killAtDeadline(c) })
	c.unanswered++
	k.mu.Unlock()
	c.process.interrupt()
}

// signalAfter sends SIGINT after d if the cell has not been answered by then. It sends the signal under the
// lock, so that the signal cannot hit a later cell. The caller must hold mu.
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

// interruptDone records that the kernel has handled an interrupt. The cell must not end before, because the
// interrupt could then hit the next cell.
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

// killAtDeadline kills the kernel of a cell that did not stop. Later answers are ignored, because they would
// report that the variables are kept.
func (k *Kernel) killAtDeadline(c *cell) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cell == c && !c.ending {
		c.ending = true
		c.process.end(errDeadline)
	}
}

// interrupt only sends the message. The kernel's answer to the running cell shows whether the cell stopped.
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
