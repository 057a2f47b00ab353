package jupyter

import (
	"errors"
	"time"
)

// oldKeyFor is how long the key before still counts when a kernel has taken a new one: threads of user
// code may have signed with it what has not left the kernel yet.
const oldKeyFor = 2 * time.Second

// keys are the keys of a kernel's messages. A value is never changed, only replaced.
type keys struct {
	sign  string    // signs what we send
	other string    // counts too: the key to come, or the one before; empty means none
	until time.Time // when the one before ceases to count; zero while the other is to come
}

// Expect lets the kernel take another key at any time, as code that we have it run tells it to. Both keys
// count until it does, which shows in its first reply on Shell that is signed with the new one; from then on
// we sign with that too. Nobody but the caller chooses keys: a kernel can at most keep the one it has.
func (c *Client) Expect(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys.Store(&keys{sign: c.keys.Load().sign, other: key})
}

// Uses reports whether the kernel has taken that key.
func (c *Client) Uses(key string) bool { return c.keys.Load().sign == key }

// turn notes that the kernel has taken the key that was expected.
func (c *Client) turn(key string) {
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
		c.turn(k.other)
	}
	return m, err
}

// Rename gives our own messages another session, so that their ids differ from those of any other client
// that continues from the same memory. What was sent before is still waited for.
func (c *Client) Rename() {
	session := newID()
	c.session.Store(&session)
}
