package agent

import (
	"time"

	"cellhold"
)

// childrenAfter is how long a cell runs before the processor time of the kernel's children is looked
// at, to know what of it is not the cell's. Reading it costs some files of /proc, 50 µs each in
// gVisor; most cells are shorter and are spared both this and the look at the end.
const childrenAfter = 50 * time.Millisecond

// meter measures the processor time of one cell. kernel.mu guards it.
type meter struct {
	known    bool // own was read
	own      time.Duration
	longer   bool // children was read
	children time.Duration
}

// begin notes what the process had used before the cell.
func (m *meter) begin(p Process) { m.own, m.known = p.CPU() }

// readings are what a process has used by now.
type readings struct {
	known         bool
	own, children time.Duration
}

// read looks at the process, without the lock: at its children only for cells that are not short.
func read(p Process, children bool) (r readings) {
	r.own, r.known = p.CPU()
	if children {
		r.children = p.ChildCPU()
	}
	return r
}

// usage is what the cell used; nil when that is not known.
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

// watchChildren reads the children's time once the cell has run for a moment. The caller holds mu.
func (k *kernel) watchChildren(c *cell) {
	k.after(c, childrenAfter, func() {
		spent := c.life.proc.ChildCPU()
		k.mu.Lock()
		defer k.mu.Unlock()
		c.meter.children, c.meter.longer = spent, true
	})
}
