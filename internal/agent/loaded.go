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
	// askPatience is the time that a kernel has to list its imports. A busy kernel answers within a second,
	// a kernel that hangs in C code never.
	askPatience = 3 * time.Second
	// maxLoaded bounds the modules of one kernel; scientific sessions have 3,000. maxMissed bounds the
	// names of missing modules, and for each name the modules that tried to import it.
	maxLoaded = 20_000
	maxMissed = 1000
)

// Modules lists the imports of one kernel.
type Modules struct {
	Loaded []string
	Missed map[string][]string // modules that tried an import, by the name of the missing module
}

// Loaded asks the running kernels which modules they have imported. It uses the control channel, so that a
// kernel that runs a cell answers too. silent lists the kernels that do not answer. Code in a kernel can
// forge the answer, so it is only a hint for that code's own user.
func (a *Agent) Loaded(ctx context.Context) (imports map[cellhold.KernelID]Modules, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	imports = map[cellhold.KernelID]Modules{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for id, client := range a.clients() {
		asked.Go(func() {
			modules, ok := askModules(ctx, client)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				imports[id] = modules
			} else {
				silent = append(silent, string(id))
			}
		})
	}
	asked.Wait()
	slices.Sort(silent)
	return imports, silent
}

// clients returns the connections to the running Python kernels.
func (a *Agent) clients() map[cellhold.KernelID]*jupyter.Client {
	a.mu.Lock()
	kernels := slices.Collect(maps.Values(a.kernels))
	a.mu.Unlock()
	list := map[cellhold.KernelID]*jupyter.Client{}
	for _, k := range kernels {
		k.mu.Lock()
		if k.process != nil && k.process.client != nil && strings.EqualFold(k.process.client.Info().LanguageInfo.Name, "python") {
			list[k.id] = k.process.client
		}
		k.mu.Unlock()
	}
	return list
}

// askModules asks one kernel with a request of Jupyter's debugger. The debugger does not have to run for
// this.
func askModules(ctx context.Context, c *jupyter.Client) (imports Modules, ok bool) {
	request := map[string]any{"type": "request", "seq": 1, "command": "modules", "arguments": map[string]any{}}
	m, err := c.Request(ctx, jupyter.Control, "debug_request", request)
	if err != nil {
		return imports, false
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
		return imports, false
	}
	imports.Loaded = make([]string, 0, len(reply.Body.Modules))
	for _, module := range reply.Body.Modules {
		imports.Loaded = append(imports.Loaded, module.Name)
	}
	for name, by := range reply.Body.Missed {
		reply.Body.Missed[name] = by[:min(len(by), maxMissed)]
	}
	imports.Missed = reply.Body.Missed
	return imports, true
}
