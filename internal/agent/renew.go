package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// The placeholders in a kernelspec's renewal code. They are replaced by random values: the key of the
// kernel's messages, the session id in them, a number below 2³¹, and 64 hexadecimal digits.
const (
	ofKey     = "{key}"
	ofSession = "{session}"
	ofSeed    = "{seed}"
	ofEntropy = "{entropy}"
)

// renew makes this agent and its kernels differ from all others that continue from the same memory. If it
// fails, some kernels may be renewed already, and the agent continues unchanged.
func (a *Agent) renew(ctx context.Context, r guestapi.Renew) (guestapi.Info, error) {
	if r.Timeout <= 0 {
		return guestapi.Info{}, cellhold.Errorf(cellhold.Invalid, "The timeout of a renewal must be positive.")
	}
	if !a.renewing.CompareAndSwap(false, true) {
		return guestapi.Info{}, errRenewing
	}
	defer a.renewing.Store(false)
	kernels := a.all()
	for _, k := range kernels {
		if err := k.checkRenewable(); err != nil {
			return guestapi.Info{}, err
		}
	}
	if err := a.commands.CheckIdle(); err != nil {
		return guestapi.Info{}, err
	}
	a.nameHost() // each copy has its own host name
	if err := renewAll(ctx, kernels, r.Timeout); err != nil {
		return guestapi.Info{}, err
	}
	if err := a.commands.Renew(); err != nil {
		return guestapi.Info{}, err
	}
	a.mu.Lock()
	a.boot = newBoot()
	clear(a.ended)
	a.mu.Unlock()
	for _, k := range kernels {
		k.forget()
	}
	return a.info(), nil
}

// errRenewing is the error of requests that would start something during a renewal.
var errRenewing = cellhold.Errorf(cellhold.Conflict, "The sandbox is being renewed.")

// newBoot returns an id for one run of an agent.
func newBoot() string { return strings.ToLower(rand.Text()) }

// all returns the kernels, sorted by id.
func (a *Agent) all() []*kernel {
	a.mu.Lock()
	defer a.mu.Unlock()
	kernels := make([]*kernel, 0, len(a.kernels))
	for _, k := range a.kernels {
		kernels = append(kernels, k)
	}
	slices.SortFunc(kernels, func(x, y *kernel) int { return strings.Compare(string(x.id), string(y.id)) })
	return kernels
}

// renewAll renews all kernels at once, and returns the first error in their order.
func renewAll(ctx context.Context, kernels []*kernel, timeout time.Duration) error {
	errs := make([]error, len(kernels))
	var work sync.WaitGroup
	for i, k := range kernels {
		work.Go(func() { errs[i] = k.renew(ctx, timeout) })
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkRenewable fails if the kernel cannot be renewed now. A dead kernel can be renewed, because it has no
// process.
func (k *kernel) checkRenewable() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == cellhold.KernelDead && k.process == nil {
		return nil
	}
	return k.checkFree()
}

// renew runs the renewal code of the kernelspec in the kernel. Without such code, only the agent's part of
// the kernel is renewed.
func (k *kernel) renew(ctx context.Context, timeout time.Duration) error {
	k.mu.Lock()
	l, state := k.process, k.state
	k.mu.Unlock()
	switch {
	case l == nil && state == cellhold.KernelDead:
		return nil
	case state != cellhold.KernelIdle:
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: it is %s.", k.id, state)
	}
	code := renewal(l.proc.Spec())
	if code == "" {
		l.client.Rename()
		return nil
	}
	c, err := k.admitQuiet(timeout, func() {})
	if err != nil {
		return err
	}
	key := hex.EncodeToString(random(16)) // same length as the keys of new kernels
	if strings.Contains(code, ofKey) {
		c.process.client.Expect(key)
	}
	d, err := k.runQuiet(ctx, c, fill(code, key))
	switch {
	case err != nil:
		return cellhold.Wrap(cellhold.Unavailable, err, "Kernel %s could not be renewed: it was lost.", k.id)
	case d.Status != cellhold.StatusOK:
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: %s", k.id, sentence(d.Cause))
	case strings.Contains(code, ofKey) && !c.process.client.Uses(key):
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: it kept its old key.", k.id)
	}
	c.process.client.Rename()
	return nil
}

// forget restarts the kernel's events, with its current state as the first one.
func (k *kernel) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.spool
	k.spool = spool.New(k.agent.options.Spool, spool.Cell)
	k.recent, k.strange = k.recent.again(), 0
	k.setState(k.reported)
	before.Close() // ends its readers and writers
}

// renewal returns the code with which a kernelspec renews its kernels. It is empty if there is none.
//
//	"metadata": {"cellhold": {"renew": "…"}}
func renewal(s jupyter.KernelSpec) string {
	var ours struct {
		Renew string `json:"renew"`
	}
	if json.Unmarshal(s.Metadata["cellhold"], &ours) != nil {
		return ""
	}
	return ours.Renew
}

// fill replaces the placeholders of renewal code by new values.
func fill(code, key string) string {
	const below = 1<<31 - 1 // the limit of R, Bash and numpy
	return strings.NewReplacer(
		ofKey, key,
		ofSession, hex.EncodeToString(random(16)),
		ofSeed, strconv.FormatUint(uint64(binary.LittleEndian.Uint32(random(4))&below), 10),
		ofEntropy, hex.EncodeToString(random(32)),
	).Replace(code)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, says its documentation
	return b
}
