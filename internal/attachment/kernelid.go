package attachment

import (
	"fmt"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/lazy"
)

// maxKernels bounds the kernels of one session: each takes 50 MB or more of its memory.
const maxKernels = 8

var (
	kernelID      = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)
	notInKernelID = lazy.Regexp(`[^A-Za-z0-9_-]+`)
)

// KernelRequest asks for one more kernel.
type KernelRequest struct {
	Spec string            // name of the kernelspec
	ID   cellhold.KernelID // empty: one made from the kernelspec's name
}

// NewID checks the id that the caller asks for, or makes one: the kernelspec's name, with a number from the
// second one on.
func (r KernelRequest) NewID(taken []cellhold.Kernel) (cellhold.KernelID, error) {
	has := func(id cellhold.KernelID) bool {
		return slices.ContainsFunc(taken, func(k cellhold.Kernel) bool { return k.ID == id })
	}
	if len(taken) >= maxKernels {
		return "", cellhold.Errorf(cellhold.Exhausted, "The session has %d kernels, which is the limit. Delete one first.", len(taken))
	}
	if r.ID != "" {
		if !kernelID().MatchString(string(r.ID)) {
			return "", cellhold.Errorf(cellhold.Invalid, "The kernel id %.40q is not valid: use 1 to 40 letters, digits, '-' or '_', and begin with a letter or digit.", r.ID)
		}
		if has(r.ID) {
			return "", cellhold.Errorf(cellhold.Conflict, "The session has a kernel %q already.", r.ID)
		}
		return r.ID, nil
	}
	name := strings.Trim(notInKernelID().ReplaceAllString(r.Spec, "-"), "-_")
	name = name[:min(len(name), 36)] // the number needs the rest
	if name == "" {
		name = "kernel"
	}
	id := cellhold.KernelID(name)
	for n := 2; has(id); n++ {
		id = cellhold.KernelID(fmt.Sprintf("%s-%d", name, n))
	}
	return id, nil
}
