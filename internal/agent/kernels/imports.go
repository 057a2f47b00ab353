package kernels

import (
	"context"
	"encoding/json"
	"strings"

	"cellhold/internal/jupyter"
)

// maxLoaded bounds the modules of one kernel; scientific sessions have 3,000. maxMissed bounds the names of
// missing modules, and for each name the modules that tried to import it.
const (
	maxLoaded = 20_000
	maxMissed = 1000
)

// Modules lists the imports of one kernel.
type Modules struct {
	Loaded []string
	Missed map[string][]string // modules that tried an import, by the name of the missing module
}

// IsPython reports whether the kernel runs and speaks Python.
func (k *Kernel) IsPython() bool { return k.python() != nil }

// Imports asks a Python kernel which modules it has imported. It uses the control channel, so that a kernel that
// runs a cell answers too. ok is false if the kernel does not answer.
func (k *Kernel) Imports(ctx context.Context) (imports Modules, ok bool) {
	c := k.python()
	if c == nil {
		return imports, false
	}
	return askModules(ctx, c)
}

// python returns the connection to a running Python kernel, and nil for all other kernels.
func (k *Kernel) python() *jupyter.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process == nil || k.process.client == nil || !strings.EqualFold(k.process.client.Info().LanguageInfo.Name, "python") {
		return nil
	}
	return k.process.client
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
