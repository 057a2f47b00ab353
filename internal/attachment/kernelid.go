package attachment

import (
	"fmt"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/lazy"
)

// maxKernels is the maximum number of kernels in one session. Each kernel uses at least 50 MB of the session's
// memory.
const maxKernels = 8

var (
	kernelID      = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)
	notInKernelID = lazy.Regexp(`[^A-Za-z0-9_-]+`)
)

// KernelRequest describes a kernel to add.
type KernelRequest struct {
	Spec string            // name of the kernelspec
	ID   cellhold.KernelID // empty: an id made from the kernelspec's name
	Dir  string            // working directory, absolute; empty: the session's

	Startup string // code that runs without output after each start of the kernel
}

// NewID checks the requested id. Without one it makes an id from the kernelspec's name, with a number if that
// name is taken.
func (r KernelRequest) NewID(taken []cellhold.Kernel) (cellhold.KernelID, error) {
	has := func(id cellhold.KernelID) bool {
		return slices.ContainsFunc(taken, func(k cellhold.Kernel) bool { return k.ID == id })
	}
	if len(taken) >= maxKernels {
		return "", cellhold.Errorf(cellhold.Exhausted, "The limit of %d kernels is reached. Delete one first.", maxKernels)
	}
	if r.ID != "" {
		if !kernelID().MatchString(string(r.ID)) {
			return "", cellhold.Errorf(cellhold.Invalid, "Invalid kernel id %.40q: use 1 to 40 letters, digits, '-' or '_', and begin with a letter or digit.", r.ID)
		}
		if has(r.ID) {
			return "", cellhold.Errorf(cellhold.Conflict, "Kernel %q exists already. Choose another id.", r.ID)
		}
		return r.ID, nil
	}
	name := strings.Trim(notInKernelID().ReplaceAllString(r.Spec, "-"), "-_")
	name = name[:min(len(name), 36)] // leave room for the number
	if name == "" {
		name = "kernel"
	}
	id := cellhold.KernelID(name)
	for n := 2; has(id); n++ {
		id = cellhold.KernelID(fmt.Sprintf("%s-%d", name, n))
	}
	return id, nil
}
