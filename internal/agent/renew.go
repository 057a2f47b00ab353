package agent

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guestapi"
)

// renew gives this agent and its kernels new identities, because other sandboxes can continue from the same memory.
// After an error, some kernels can have new identities already; the agent keeps its old one.
func (a *Agent) renew(ctx context.Context, r guestapi.Renew) (guestapi.Info, error) {
	if r.Timeout <= 0 {
		return guestapi.Info{}, cellhold.Errorf(cellhold.Invalid, "The timeout of a renewal must be positive.")
	}
	if !a.renewing.CompareAndSwap(false, true) {
		return guestapi.Info{}, errRenewing
	}
	defer a.renewing.Store(false)
	list := a.all()
	for _, k := range list {
		if err := k.CheckRenewable(); err != nil {
			return guestapi.Info{}, err
		}
	}
	if err := a.commands.CheckIdle(); err != nil {
		return guestapi.Info{}, err
	}
	for _, k := range list {
		k.EndWires()
	}
	a.nameHost() // each copy has its own host name
	if err := renewAll(ctx, list, r.Timeout); err != nil {
		return guestapi.Info{}, err
	}
	if err := a.commands.Renew(); err != nil {
		return guestapi.Info{}, err
	}
	a.mu.Lock()
	a.boot = newBoot()
	clear(a.ended)
	a.mu.Unlock()
	for _, k := range list {
		k.Forget()
	}
	return a.info(), nil
}

// errRenewing is the error of requests to start something during a renewal.
var errRenewing = cellhold.Errorf(cellhold.Conflict, "The sandbox is being renewed.")

// newBoot returns an id for one run of an agent.
func newBoot() string { return strings.ToLower(rand.Text()) }

// all returns the kernels, sorted by id.
func (a *Agent) all() []*kernels.Kernel {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*kernels.Kernel, 0, len(a.kernels))
	for _, k := range a.kernels {
		list = append(list, k)
	}
	slices.SortFunc(list, func(x, y *kernels.Kernel) int { return strings.Compare(string(x.ID()), string(y.ID())) })
	return list
}

// renewAll renews all kernels at the same time. It returns the error of the first kernel that failed, by id.
func renewAll(ctx context.Context, list []*kernels.Kernel, timeout time.Duration) error {
	errs := make([]error, len(list))
	var work sync.WaitGroup
	for i, k := range list {
		work.Go(func() { errs[i] = k.Renew(ctx, timeout) })
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
