package agent

import (
	"net/http"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guestapi"
)

// getWire turns a request into a wire of a kernel.
func getWire(k *kernels.Kernel, w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != guestapi.WireUpgrade {
		problem(w, cellhold.Errorf(cellhold.Invalid, "A wire needs an upgrade to %s.", guestapi.WireUpgrade))
		return
	}
	wire, err := k.OpenWire()
	if err != nil {
		problem(w, err)
		return
	}
	defer wire.Close()
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(w, err)
		return
	}
	defer c.Close()
	if switched(c, guestapi.WireUpgrade) == nil {
		wire.Serve(c, rw.Reader, k.SendRaw)
	}
}
