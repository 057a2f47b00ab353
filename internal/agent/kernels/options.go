// Package kernels runs the kernels of a sandbox. It starts their processes through a Launcher and runs one cell at a
// time in each kernel. It turns the messages of kernels into numbered events in a spool.
//
// The package decides when a cell has ended. A cell ends after the reply and the idle status, or after the reply and a
// short wait. A cell also ends when its process ends. At the deadline of a cell the agent interrupts the cell. If the
// cell does not stop, the agent kills the kernel.
//
// User code can forge every message of a kernel. So a message can end only the cell that it answers, and only once. The
// agent's clock decides deadlines. The operating system, and not a message, reports the end of a process.
//
// The package has no queue of cells. It does not restart a kernel that crashed, and does not know the host.
//
// Lock order: Kernel.mu before the locks of the spool and the connection. No goroutine holds Kernel.mu while it waits
// for a kernel. A goroutine can send while it holds
// Kernel.mu, because a send does not wait.
package kernels

import (
	"log/slog"
	"time"

	"cellhold"
)

// Options configures a Kernel. All fields are required unless their comment says otherwise.
type Options struct {
	Launcher Launcher
	Timing   Timing // without zero fields; see WithDefaults
	Spool    int64  // maximum bytes of events in the spool
	Logger   *slog.Logger

	// Environment returns the variables of a kernel: its own variables, and those of the sandbox that it does not set.
	Environment func(own map[string]string) map[string]string
	// CheckStart fails during a renewal of the agent, because cells must not start then.
	CheckStart func() error
	// OutputChanged reports whether the output files have changed since its last call.
	OutputChanged func() bool
	// Written lists the files that cells wrote. It may be nil.
	Written Written
}

// Written lists the files that were written. A written.Log implements it.
type Written interface {
	Mark() int64                                  // the current position
	Since(mark int64) ([]cellhold.CellFile, bool) // files written after mark, up to a limit; true if there are others
}

// mark returns the current position in the log of written files.
func (k *Kernel) mark() int64 {
	if k.options.Written == nil {
		return 0
	}
	return k.options.Written.Mark()
}

// wrote returns the files that were written since the cell began.
func (k *Kernel) wrote(c *cell) (files []cellhold.CellFile, more bool) {
	if k.options.Written == nil {
		return nil, false
	}
	return k.options.Written.Since(c.mark)
}

// Timing has the durations for which the agent waits for kernels and for the host.
type Timing struct {
	Start     time.Duration // from the launch of a kernel to the end of its startup code
	Idle      time.Duration // from the reply to the idle status
	Interrupt time.Duration // from an interrupt message to the interrupt signal
	Kill      time.Duration // from the interrupt signal to the kill, when the deadline has passed
	Shutdown  time.Duration // for a kernel to end by itself, before the kill
	Host      time.Duration // for the host to read output, before output is dropped
}

// WithDefaults returns t with the default in each field that is zero or negative.
func (t Timing) WithDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Start, 120*time.Second)   // a kernel needs 1 s; startup code that imports pandas needs up to 10 s under load
	set(&t.Idle, 4*time.Second)      // as in nbclient; the wait passes only if the idle status was lost
	set(&t.Interrupt, 2*time.Second) // the answer takes 0.1 s; clean-up code of the cell takes longer
	set(&t.Kill, 3*time.Second)      // so a deadline is exceeded by at most 5 s
	set(&t.Host, 10*time.Second)     // enough for a server that restarts
	set(&t.Shutdown, 1*time.Second)  // a kernel ends within 0.15 s; a stuck kernel is killed
	return t
}
