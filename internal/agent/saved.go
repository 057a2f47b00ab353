package agent

import (
	"context"
	"maps"
	"sync"

	"cellhold"
	"cellhold/internal/agent/command"
	"cellhold/internal/agent/kernels"
)

// Saved has the state that another agent needs to continue this one: its boot id, its kernels, and the
// events that the host has not acknowledged. It is for drivers whose agents are not processes of their own.
// Other drivers save the whole memory of the agent.
type Saved struct {
	boot     string
	ended    map[cellhold.KernelID]int64
	kernels  []kernels.Saved
	commands *command.Saved
}

// Save returns the state of the agent. Every kernel must be idle or dead, and all commands must have ended.
// Save calls live with the id of each live kernel, while it holds the kernel's lock. In this call, the driver
// can save the state of the kernel's processes.
func (a *Agent) Save(live func(cellhold.KernelID)) (*Saved, error) {
	commands, err := a.commands.Save()
	if err != nil {
		return nil, err
	}
	s := &Saved{commands: commands}
	for _, k := range a.all() {
		one, err := k.Save(live)
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

// restore makes a new agent continue a saved one. It returns when the kernels are ready again.
func (a *Agent) restore(ctx context.Context, s *Saved) {
	var ready sync.WaitGroup
	a.mu.Lock()
	a.boot, a.ended = s.boot, maps.Clone(s.ended)
	for _, one := range s.kernels {
		k, alive := kernels.Restore(a.kernelOptions(), one, ready.Done)
		if alive {
			ready.Add(1)
		}
		a.kernels[k.ID()] = k
		k.Launch(ctx, &a.kernelWork)
	}
	a.mu.Unlock()
	ready.Wait()
}
