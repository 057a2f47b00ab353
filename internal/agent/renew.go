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

// What a kernelspec's code of renewal may name, and gets replaced: the key of the kernel's messages, the
// session that they bear, a number below 2³¹ and 64 hexadecimal digits, all random.
const (
	ofKey     = "{key}"
	ofSession = "{session}"
	ofSeed    = "{seed}"
	ofEntropy = "{entropy}"
)

// renew makes this agent and its kernels differ from all others that continue from the same memory. When
// it fails, kernels may have been renewed and others not; the agent goes on as it was.
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
		if err := k.still(); err != nil {
			return guestapi.Info{}, err
		}
	}
	if err := a.commands.Still(); err != nil {
		return guestapi.Info{}, err
	}
	a.nameHost() // a copy has a name of its own
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

// errRenewing keeps everything else from beginning meanwhile.
var errRenewing = cellhold.Errorf(cellhold.Conflict, "The sandbox is being renewed.")

// newBoot names a life of an agent.
func newBoot() string { return strings.ToLower(rand.Text()) }

// all are the kernels, sorted by their ids.
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

// still says why the kernel cannot be renewed now. A dead one can: nothing of it is left.
func (k *kernel) still() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == cellhold.KernelDead && k.life == nil {
		return nil
	}
	return k.free()
}

// renew has the kernel run the code that its kernelspec has for that. One whose spec has none stays as it
// is, but for our own part.
func (k *kernel) renew(ctx context.Context, timeout time.Duration) error {
	k.mu.Lock()
	l, state := k.life, k.state
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
	c, err := k.hush(timeout, func() {})
	if err != nil {
		return err
	}
	key := hex.EncodeToString(random(16)) // as long as those that kernels start with
	if strings.Contains(code, ofKey) {
		c.life.client.Expect(key)
	}
	d, err := k.quietly(ctx, c, fill(code, key))
	switch {
	case err != nil:
		return cellhold.Wrap(cellhold.Unavailable, err, "Kernel %s could not be renewed: it was lost.", k.id)
	case d.Status != cellhold.StatusOK:
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: %s", k.id, sentence(d.Cause))
	case strings.Contains(code, ofKey) && !c.life.client.Uses(key):
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: it kept its old key.", k.id)
	}
	c.life.client.Rename()
	return nil
}

// forget lets the kernel's events begin anew, with what it is now.
func (k *kernel) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.spool
	k.spool = spool.New(k.agent.options.Spool, spool.Cell)
	k.recent, k.strange = k.recent.again(), 0
	k.setState(k.said)
	before.Close() // who reads or writes it is of before
}

// renewal is the code that a kernelspec has for renewing its kernels, empty if it has none:
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

// fill puts fresh values into code of renewal.
func fill(code, key string) string {
	const below = 1<<31 - 1 // what R, Bash and numpy all take
	return strings.NewReplacer(
		ofKey, key,
		ofSession, hex.EncodeToString(random(16)),
		ofSeed, strconv.FormatUint(uint64(binary.LittleEndian.Uint32(random(4))&below), 10),
		ofEntropy, hex.EncodeToString(random(32)),
	).Replace(code)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, by its own documentation
	return b
}
