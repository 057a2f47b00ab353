// Package exclusive lets only one caller at a time work for a key. It does not know the work.
package exclusive

import (
	"context"
	"sync"
)

// Keys has the keys that callers hold or wait for. The zero value has none. Its methods can be called from any goroutine.
type Keys struct {
	mu   sync.Mutex
	keys map[string]*entry
}

// entry is a key that a caller holds.
type entry struct {
	held    chan struct{} // capacity 1
	callers int           // number of callers that hold the key or wait for it; guarded by Keys.mu
}

// Hold waits until no other caller holds the key. The caller must call release. The last caller deletes the entry,
// because the number of keys has no limit.
func (k *Keys) Hold(ctx context.Context, key string) (release func(), err error) {
	e := k.enter(key)
	select {
	case e.held <- struct{}{}:
		return func() { <-e.held; k.leave(key, e) }, nil
	case <-ctx.Done():
		k.leave(key, e)
		return nil, ctx.Err()
	}
}

// Len returns the number of keys that callers hold or wait for.
func (k *Keys) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys)
}

// enter returns the entry of a key, and counts the caller.
func (k *Keys) enter(key string) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.keys[key]
	if e == nil {
		e = &entry{held: make(chan struct{}, 1)}
		if k.keys == nil {
			k.keys = map[string]*entry{}
		}
		k.keys[key] = e
	}
	e.callers++
	return e
}

func (k *Keys) leave(key string, e *entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.callers--; e.callers == 0 {
		delete(k.keys, key)
	}
}
