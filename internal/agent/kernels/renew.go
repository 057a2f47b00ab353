package kernels

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/jupyter"
)

// The placeholders in a kernelspec's renewal code. They are replaced by random values: the key of the
// kernel's messages, the session id in them, a number below 2³¹, and 64 hexadecimal digits.
const (
	keyPlaceholder     = "{key}"
	sessionPlaceholder = "{session}"
	seedPlaceholder    = "{seed}"
	entropyPlaceholder = "{entropy}"
)

// CheckRenewable fails if the kernel cannot be renewed now. It accepts a dead kernel without a process: Renew leaves
// this kernel dead and returns no error.
func (k *Kernel) CheckRenewable() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == cellhold.KernelDead && k.process == nil {
		return nil
	}
	return k.checkFree()
}

// Renew makes the kernel different from other kernels that continue from the same memory. It runs the renewal code of
// the kernelspec in the kernel. Without such code, only the Jupyter session in the agent's messages changes.
func (k *Kernel) Renew(ctx context.Context, timeout time.Duration) error {
	k.mu.Lock()
	p, state := k.process, k.state
	k.mu.Unlock()
	switch {
	case p == nil && state == cellhold.KernelDead:
		return nil
	case state != cellhold.KernelIdle:
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: it is %s.", k.id, state)
	}
	code := renewal(p.proc.Spec())
	if code == "" {
		p.client.Rename()
		return nil
	}
	c, err := k.admitQuiet(timeout, func() {})
	if err != nil {
		return err
	}
	key := hex.EncodeToString(random(16)) // same length as the keys of new kernels
	rekeyed := c.process.client.Signed() && strings.Contains(code, keyPlaceholder)
	if rekeyed {
		c.process.client.Expect(key)
	}
	d, err := k.runQuiet(ctx, c, fill(code, key))
	switch {
	case err != nil:
		return cellhold.Wrap(cellhold.Unavailable, err, "Kernel %s could not be renewed: it was lost.", k.id)
	case d.Status != cellhold.StatusOK:
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: %s", k.id, Sentence(d.Cause))
	case rekeyed && !c.process.client.Uses(key):
		return cellhold.Errorf(cellhold.Unavailable, "Kernel %s could not be renewed: it kept its old key.", k.id)
	}
	c.process.client.Rename()
	return nil
}

// Forget restarts the kernel's events, with its current state as the first one.
func (k *Kernel) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.spool
	k.spool = spool.New(k.options.Spool, spool.Cell)
	k.recent, k.strange = k.recent.forCopy(), 0
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
		keyPlaceholder, key,
		sessionPlaceholder, hex.EncodeToString(random(16)),
		seedPlaceholder, strconv.FormatUint(uint64(binary.LittleEndian.Uint32(random(4))&below), 10),
		entropyPlaceholder, hex.EncodeToString(random(32)),
	).Replace(code)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // its documentation guarantees that it never fails
	return b
}
