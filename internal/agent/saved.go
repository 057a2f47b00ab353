package agent

import (
	"context"
	"maps"
	"sync"

	"cellhold"
	"cellhold/internal/agent/command"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
)

// Saved is what another agent needs to go on where this one is: its name, its kernels, and the events
// that the host has not acknowledged. It is for drivers whose agents are no processes of their own; the
// others save the agent's memory, and all of this with it.
type Saved struct {
	boot     string
	ended    map[cellhold.KernelID]int64
	kernels  []savedKernel
	commands *command.Saved
}

type savedKernel struct {
	id      cellhold.KernelID
	request guestapi.StartKernel
	spool   *spool.Spool
	said    cellhold.KernelStateContent
	recent  recentCells
	strange int64
}

// Save returns it. Every kernel must be idle or dead, and no command may run. While a kernel that is
// alive can begin nothing, also is called, for what the Launcher's processes know.
func (a *Agent) Save(also func(cellhold.KernelID)) (*Saved, error) {
	commands, err := a.commands.Save()
	if err != nil {
		return nil, err
	}
	s := &Saved{commands: commands}
	for _, k := range a.all() {
		one, err := k.save(also)
		if err != nil {
			return nil, err
		}
		s.kernels = append(s.kernels, one)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.boot, s.ended = a.boot, maps.Clone(a.ended)
	return s, nil
}

func (k *kernel) save(also func(cellhold.KernelID)) (savedKernel, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.life != nil || k.state != cellhold.KernelDead {
		if err := k.free(); err != nil {
			return savedKernel{}, err
		}
		also(k.id)
	}
	return savedKernel{
		id: k.id, request: k.request, spool: k.spool.Copy(), said: k.said,
		recent: k.recent.clone(), strange: k.strange,
	}, nil
}

// goOn makes a new agent the one that was saved. It returns when its kernels are there again.
func (a *Agent) goOn(ctx context.Context, s *Saved) {
	var there sync.WaitGroup
	a.mu.Lock()
	a.boot, a.ended = s.boot, maps.Clone(s.ended)
	for _, one := range s.kernels {
		k := one.again(a)
		if k.state != cellhold.KernelDead {
			there.Add(1)
			k.there = there.Done
		}
		a.kernels[k.id] = k
		a.launch(ctx, k)
	}
	a.mu.Unlock()
	there.Wait()
}

func (s savedKernel) again(a *Agent) *kernel {
	k := newKernel(a, s.id, s.request, 0)
	k.spool, k.state, k.said, k.strange = s.spool.Copy(), s.said.State, s.said, s.strange
	k.recent = s.recent.clone()
	return k
}
