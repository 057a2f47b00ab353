package agent

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
)

const (
	// askPatience is how long a kernel may take to say what it has imported: a busy one answers
	// within a second, one that is stuck in C not at all.
	askPatience = 3 * time.Second
	// maxLoaded bounds the modules of one kernel; scientific sessions have 3,000. maxMissed bounds the
	// names that were looked for in vain, and the modules that did so, of each.
	maxLoaded = 20_000
	maxMissed = 1000
)

// Modules is what one kernel says of its imports.
type Modules struct {
	Loaded []string
	Missed map[string][]string // by the name of what was not there
}

// Loaded asks the running kernels which modules they have imported. It goes over the control
// channel, so that a kernel that runs a cell answers too. Those that do not answer are silent. Code
// in a kernel can make it say anything; the answer is a hint for its own user.
func (a *Agent) Loaded(ctx context.Context) (said map[cellhold.KernelID]Modules, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	said = map[cellhold.KernelID]Modules{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for id, client := range a.clients() {
		asked.Go(func() {
			modules, ok := askModules(ctx, client)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				said[id] = modules
			} else {
				silent = append(silent, string(id))
			}
		})
	}
	asked.Wait()
	slices.Sort(silent)
	return said, silent
}

// clients are the connections to the kernels that speak Python and live.
func (a *Agent) clients() map[cellhold.KernelID]*jupyter.Client {
	a.mu.Lock()
	kernels := slices.Collect(maps.Values(a.kernels))
	a.mu.Unlock()
	list := map[cellhold.KernelID]*jupyter.Client{}
	for _, k := range kernels {
		k.mu.Lock()
		if k.life != nil && k.life.client != nil && strings.EqualFold(k.life.client.Info().LanguageInfo.Name, "python") {
			list[k.id] = k.life.client
		}
		k.mu.Unlock()
	}
	return list
}

// askModules asks one kernel in the words of Jupyter's debugger, which needs no debugger to be
// running for this.
func askModules(ctx context.Context, c *jupyter.Client) (said Modules, ok bool) {
	request := map[string]any{"type": "request", "seq": 1, "command": "modules", "arguments": map[string]any{}}
	m, err := c.Request(ctx, jupyter.Control, "debug_request", request)
	if err != nil {
		return said, false
	}
	var reply struct {
		Body struct {
			Modules []struct {
				Name string `json:"name"`
			} `json:"modules"`
			Missed map[string][]string `json:"missed"`
		} `json:"body"`
	}
	if json.Unmarshal(m.Content, &reply) != nil || reply.Body.Modules == nil || len(reply.Body.Modules) > maxLoaded || len(reply.Body.Missed) > maxMissed {
		return said, false
	}
	said.Loaded = make([]string, 0, len(reply.Body.Modules))
	for _, module := range reply.Body.Modules {
		said.Loaded = append(said.Loaded, module.Name)
	}
	for name, by := range reply.Body.Missed {
		reply.Body.Missed[name] = by[:min(len(by), maxMissed)]
	}
	said.Missed = reply.Body.Missed
	return said, true
}
