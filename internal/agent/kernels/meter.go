package kernels

import (
	"time"

	"cellhold"
)

// childrenAfter is the age of a cell at which the processor time of the kernel's children is read for the
// first time. Only time after this read counts for the cell. A read needs some files of /proc, 50 µs each in
// gVisor. Most cells end earlier, and for them the children's time is never read.
const childrenAfter = 50 * time.Millisecond

// meter measures the processor time of one cell. Kernel.mu guards it.
type meter struct {
	known    bool // own was read
	own      time.Duration
	longer   bool // children was read
	children time.Duration
}

// begin records the time that the process had used before the cell.
func (m *meter) begin(p Process) { m.own, m.known = p.CPU() }

// readings are the times that a process has used so far.
type readings struct {
	known         bool
	own, children time.Duration
}

// read reads the times of a process. It reads the children's time only if children is set. The caller must
// not hold mu.
func read(p Process, children bool) (r readings) {
	r.own, r.known = p.CPU()
	if children {
		r.children = p.ChildCPU()
	}
	return r
}

// usage returns the use of the cell, or nil when it is not known.
func (m *meter) usage(r readings) *cellhold.Usage {
	if !m.known || !r.known {
		return nil
	}
	used := r.own - m.own
	if m.longer {
		used += max(r.children-m.children, 0)
	}
	return &cellhold.Usage{CPU: new(max(used, 0).Seconds())}
}

// watchChildren reads the children's time once the cell has run for childrenAfter. The caller must hold mu.
func (k *Kernel) watchChildren(c *cell) {
	k.after(c, childrenAfter, func() {
		spent := c.process.proc.ChildCPU()
		k.mu.Lock()
		defer k.mu.Unlock()
		c.meter.children, c.meter.longer = spent, true
	})
}
