package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
)

// askPatience is the time that a kernel has to list its imports. A busy kernel answers within a second. A
// kernel that hangs in C code never answers.
const askPatience = 3 * time.Second

// Loaded asks the running Python kernels which modules they have imported. silent lists the kernels that do not
// answer. Code in a kernel can forge the answer, so use it only as a hint.
func (a *Agent) Loaded(ctx context.Context) (imports map[cellhold.KernelID]kernels.Modules, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	imports = map[cellhold.KernelID]kernels.Modules{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, k := range a.all() {
		if !k.IsPython() {
			continue
		}
		asked.Go(func() {
			modules, ok := k.Imports(ctx)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				imports[k.ID()] = modules
			} else {
				silent = append(silent, string(k.ID()))
			}
		})
	}
	asked.Wait()
	slices.Sort(silent)
	return imports, silent
}
