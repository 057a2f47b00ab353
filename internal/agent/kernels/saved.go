package kernels

import (
	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// Saved is the state with which Restore continues a kernel.
type Saved struct {
	id       cellhold.KernelID
	request  guestapi.StartKernel
	spool    *spool.Spool
	reported cellhold.KernelStateContent
	recent   recentCells
	strange  int64
}

// Save returns the state of a kernel, which must be idle or dead. If the kernel is idle, Save calls idle with
// its id, under the lock of the kernel.
func (k *Kernel) Save(idle func(cellhold.KernelID)) (Saved, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != nil || k.state != cellhold.KernelDead {
		if err := k.checkFree(); err != nil {
			return Saved{}, err
		}
		idle(k.id)
	}
	return Saved{
		id: k.id, request: k.request, spool: k.spool.Copy(), reported: k.reported,
		recent: k.recent.clone(), strange: k.strange,
	}, nil
}

// Restore returns a kernel that continues a saved one. alive reports whether the saved kernel was alive. If it
// was, ready is called when its new process is ready or has failed.
func Restore(o Options, s Saved, ready func()) (k *Kernel, alive bool) {
	k = New(o, s.id, s.request, 0)
	k.spool, k.state, k.reported, k.strange = s.spool.Copy(), s.reported.State, s.reported, s.strange
	k.recent = s.recent.clone()
	if k.state == cellhold.KernelDead {
		return k, false
	}
	k.restored = ready
	return k, true
}
