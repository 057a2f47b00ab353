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

// Saved has the state that another agent needs to continue this one: its boot id, its kernels, and the
// events that the host has not acknowledged. It is for drivers whose agents are not processes of their own.
// Other drivers save the whole memory of the agent.
type Saved struct {
	boot     string
	ended    map[cellhold.KernelID]int64
	kernels  []savedKernel
	commands *command.Saved
}

type savedKernel struct {
	id       cellhold.KernelID
	request  guestapi.StartKernel
	spool    *spool.Spool
	reported cellhold.KernelStateContent
	recent   recentCells
	strange  int64
}

// Save returns the state of the agent. Every kernel must be idle or dead, and no command can run. Save
// calls also for each kernel that is alive, while the kernel is locked. There the caller can save the state
// of its processes.
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
	if k.process != nil || k.state != cellhold.KernelDead {
		if err := k.checkFree(); err != nil {
			return savedKernel{}, err
		}
		also(k.id)
	}
	return savedKernel{
		id: k.id, request: k.request, spool: k.spool.Copy(), reported: k.reported,
		recent: k.recent.clone(), strange: k.strange,
	}, nil
}

// restore makes a new agent continue a saved one. It returns when the kernels are ready again.
func (a *Agent) restore(ctx context.Context, s *Saved) {
	var ready sync.WaitGroup
	a.mu.Lock()
	a.boot, a.ended = s.boot, maps.Clone(s.ended)
	for _, one := range s.kernels {
		k := one.again(a)
		if k.state != cellhold.KernelDead {
			ready.Add(1)
			k.restored = ready.Done
		}
		a.kernels[k.id] = k
		a.launch(ctx, k)
	}
	a.mu.Unlock()
	ready.Wait()
}

func (s savedKernel) again(a *Agent) *kernel {
	k := newKernel(a, s.id, s.request, 0)
	k.spool, k.state, k.reported, k.strange = s.spool.Copy(), s.reported.State, s.reported, s.strange
	k.recent = s.recent.clone()
	return k
}
