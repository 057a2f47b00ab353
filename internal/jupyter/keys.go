package jupyter

import (
	"errors"
	"time"
)

// oldKeyFor is how long the old key is valid after a kernel has taken a new key. Threads of user code can have
// unsent messages that are signed with the old key.
const oldKeyFor = 2 * time.Second

// keys are the keys of a kernel's messages. They are replaced, and never changed in place.
type keys struct {
	sign  string    // signs sent messages
	other string    // also valid: the expected key, or the last one; empty means none
	until time.Time // when the last key becomes invalid; zero while a key is expected
}

// Signed reports whether messages are signed. Otherwise a kernel has no key, and cannot take one.
func (c *Client) Signed() bool { return c.keys.Load().sign != "" }

// Expect allows the kernel to take another key, which code in the kernel must then do. Both keys are valid
// until the first reply on Shell with the new key. From then on the client signs with the new key too. Only
// the caller chooses keys: a kernel can at most keep its old one.
func (c *Client) Expect(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys.Store(&keys{sign: c.keys.Load().sign, other: key})
}

// Uses reports whether the kernel has taken a key.
func (c *Client) Uses(key string) bool { return c.keys.Load().sign == key }

// switchKey records that the kernel has taken the expected key.
func (c *Client) switchKey(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.keys.Load(); k.other == key && k.until.IsZero() {
		c.keys.Store(&keys{sign: key, other: k.sign, until: time.Now().Add(oldKeyFor)})
	}
}

// decode reads a message that is signed with one of the keys.
func (c *Client) decode(ch Channel, frames [][]byte, dropped int64) (Message, error) {
	k := c.keys.Load()
	m, err := Decode(k.sign, ch, frames, dropped)
	if k.other == "" || !errors.Is(err, errSignature) {
		return m, err
	}
	if !k.until.IsZero() && time.Now().After(k.until) {
		return m, err
	}
	m, err = Decode(k.other, ch, frames, dropped)
	if err == nil && ch == Shell && k.until.IsZero() && dropped == 0 {
		c.switchKey(k.other)
	}
	return m, err
}

// Rename gives the client's messages another session. Then their ids differ from those of every other
// client that continues from the same memory. Requests that were sent before still get their replies.
func (c *Client) Rename() {
	session := newID()
	c.session.Store(&session)
}
