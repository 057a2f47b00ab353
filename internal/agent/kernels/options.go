// Package kernels runs the kernels of a sandbox. It starts their processes through a Launcher and runs one
// cell at a time in each. It turns their messages into numbered events in a spool.
//
// It decides when a cell has ended. A cell ends after the reply and the idle status, or after the reply and
// a short wait. It also ends with the process, and at its deadline. All messages of a kernel are hostile,
// because user code can forge every message. So a message can end only the cell that it answers, and only
// once. Deadlines come from the clock, and deaths from the process.
//
// It has no queue of cells, does not restart a kernel that crashed, and does not know the host.
//
// Lock order: Kernel.mu before the locks of the spool and the connection. No goroutine holds Kernel.mu while it waits
// for a kernel. A send can be made under the lock, because it does not wait.
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
	Spool    int64  // bytes of events that are kept
	Logger   *slog.Logger

	// Environment adds the variables of the sandbox to those of a kernel.
	Environment func(own map[string]string) map[string]string
	// CheckStart fails while nothing can start in the sandbox.
	CheckStart func() error
	// OutputChanged reports whether the output files have changed since its last call.
	OutputChanged func() bool
	// Written lists the files that cells wrote. It may be nil.
	Written Written
}

// Written lists the files that were written. A written.Log implements it.
type Written interface {
	Mark() int64                                  // the current position
	Since(mark int64) ([]cellhold.CellFile, bool) // files written since then; true when more were written
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

// Timing has the times that the agent waits for kernels and for the host.
type Timing struct {
	Start     time.Duration // from the launch of a kernel to the end of its startup code
	Idle      time.Duration // from the reply to the idle status
	Interrupt time.Duration // from an interrupt message to the interrupt signal
	Kill      time.Duration // from the interrupt signal to the kill, when the deadline has passed
	Shutdown  time.Duration // for an idle kernel that was asked to end
	Host      time.Duration // for a host that reads nothing, before output is dropped
}

// WithDefaults returns t with the default in each field that is zero.
func (t Timing) WithDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Start, 120*time.Second)   // a kernel needs 1 s, startup code that imports pandas and more up to 10 s on a busy host
	set(&t.Idle, 4*time.Second)      // nbclient waits as long; it is needed only when the idle status was lost
	set(&t.Interrupt, 2*time.Second) // the answer to the message takes 0.1 s, clean-up code of the cell longer
	set(&t.Kill, 3*time.Second)      // so a deadline is exceeded by at most 5 s
	set(&t.Host, 10*time.Second)     // enough for a server that restarts
	set(&t.Shutdown, 1*time.Second)  // a kernel ends within 0.15 s; a stuck kernel is killed
	return t
}
