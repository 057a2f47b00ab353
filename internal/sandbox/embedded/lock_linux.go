package embedded

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// errOwned says that a driver, of this server or another, owns the sandbox.
var errOwned = errors.New("the sandbox exists already and has an owner")

// ownership is the exclusive right to a sandbox, from own to Close. When this process dies, the kernel ends it.
type ownership struct {
	path   string
	f      *os.File // nil for a sandbox without a directory
	closed bool
}

// owned lists the locks of this process. Record locks keep out other processes only.
var owned = struct {
	mu    sync.Mutex
	paths map[string]bool
}{paths: map[string]bool{}}

// own takes ownership of a sandbox, or fails with errOwned. It uses a record lock, because child processes do not inherit
// it. A flock would stay for a moment in a child that a dying server had just started.
func own(p paths) (*ownership, error) {
	owned.mu.Lock()
	defer owned.mu.Unlock()
	if owned.paths[p.lock] {
		return nil, errOwned
	}
	f, err := os.OpenFile(p.lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &whole); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, errOwned
		}
		return nil, fmt.Errorf("lock %s: %w", p.lock, err)
	}
	owned.paths[p.lock] = true
	return &ownership{path: p.lock, f: f}, nil
}

// ownLost is own for a sandbox without a directory, which can have an owner in this process. It keeps out this process only.
func ownLost(p paths) (*ownership, error) {
	owned.mu.Lock()
	defer owned.mu.Unlock()
	if owned.paths[p.lock] {
		return nil, errOwned
	}
	owned.paths[p.lock] = true
	return &ownership{path: p.lock}, nil
}

// Close ends the ownership. It can be called twice.
func (o *ownership) Close() error {
	owned.mu.Lock()
	defer owned.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	delete(owned.paths, o.path)
	if o.f == nil {
		return nil
	}
	return o.f.Close()
}
