// Package fake creates sandboxes without isolation, for tests and demonstrations.
//
// Isolation and kernels are fakes: each kernel is a script in this process. The agent in each sandbox is the real one, so
// all code above a driver is the shipped code. The driver isolates and limits nothing. It must never run untrusted code.
//
// Sandboxes belong to a World, not to a Driver. A second Driver for the same World finds the sandboxes of the first, like
// a server that starts again after a crash.
//
// Locks: World.mu before box.mu. No lock is held while waiting for an agent.
package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"cellhold/internal/agent/command"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/sandbox"
)

var validID = regexp.MustCompile(`^[A-Za-z0-9-]{1,40}$`)

// Options configures a World.
type Options struct {
	Dir      string                    // for the files of sandboxes; required
	Script   func() jupytertest.Script // returns the language of one kernel process; nil means jupytertest.Toy
	Timing   kernels.Timing            // timeouts of agents; zero fields mean the agent's defaults
	Commands command.Timing            // timeouts of commands; zero fields mean the agent's defaults
	Spool    int64                     // bytes of events that an agent stores; 0 means the agent's default
	Logger   *slog.Logger              // nil: no log
}

// World contains the sandboxes. It outlives its drivers.
type World struct {
	options Options
	ctx     context.Context
	end     context.CancelFunc
	sockets string // a directory with a short name: the paths of Unix sockets are limited

	mu        sync.Mutex
	boxes     map[sandbox.ID]*box
	snapshots map[string]*saved
	driver    *Driver // the newest
}

// NewWorld returns an empty World. The caller must close it, which ends its sandboxes.
func NewWorld(ctx context.Context, o Options) (*World, error) {
	if o.Dir == "" {
		return nil, errors.New("fake: Options.Dir is missing")
	}
	sockets, err := os.MkdirTemp("", "fake")
	if err != nil {
		return nil, fmt.Errorf("make a directory for sockets: %w", err)
	}
	w := &World{options: o, sockets: sockets, boxes: make(map[sandbox.ID]*box), snapshots: make(map[string]*saved)}
	w.ctx, w.end = context.WithCancel(ctx)
	return w, nil
}

// Close ends all sandboxes. It can be called twice.
func (w *World) Close() error {
	w.end()
	w.mu.Lock()
	boxes := w.boxes
	w.boxes = make(map[sandbox.ID]*box)
	w.mu.Unlock()
	for _, b := range boxes {
		b.stop(sandbox.Exit{Destroyed: true})
	}
	return os.RemoveAll(w.sockets)
}

// Open returns a driver for this World. It closes the previous driver and all its connections: a sandbox has one owner.
func (w *World) Open() *Driver {
	d := &Driver{world: w, conns: make(map[net.Conn]struct{})}
	w.mu.Lock()
	old := w.driver
	w.driver = d
	w.mu.Unlock()
	if old != nil {
		old.die()
	}
	return d
}

// Kill ends a sandbox as a crash would. Its remains stay until Remove.
func (w *World) Kill(id sandbox.ID, e sandbox.Exit) error {
	b, err := w.find(id)
	if err != nil {
		return err
	}
	b.stop(e)
	return nil
}

// OutputDir is the directory of the sandbox's /mnt/data/output.
func (w *World) OutputDir(id sandbox.ID) string {
	return filepath.Join(w.dir(id), "output")
}

// WorkDir is the working directory of the sandbox.
func (w *World) WorkDir(id sandbox.ID) string {
	return filepath.Join(w.dir(id), "work")
}

func (w *World) find(id sandbox.ID) (*box, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.boxes[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("sandbox %q: %w", id, sandbox.ErrNotFound)
}

// remove removes a sandbox and its files.
func (w *World) remove(b *box) error {
	w.mu.Lock()
	if w.boxes[b.spec.ID] == b {
		delete(w.boxes, b.spec.ID)
	}
	w.mu.Unlock()
	b.stop(sandbox.Exit{Destroyed: true})
	return os.RemoveAll(w.dir(b.spec.ID))
}

func (w *World) dir(id sandbox.ID) string { return filepath.Join(w.options.Dir, string(id)) }

// Driver creates sandboxes in a World.
type Driver struct {
	world *World

	mu    sync.Mutex
	dead  bool
	conns map[net.Conn]struct{} // the open connections; die closes them
}

var _ sandbox.Driver = (*Driver)(nil)

// Features reports that nothing is isolated and no limit is enforced.
func (d *Driver) Features() sandbox.Features {
	return sandbox.Features{Pause: true, Snapshot: true, Unenforced: []string{"The fake driver enforces no limits."}}
}

// Create starts an agent in this process.
func (d *Driver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	b, err := d.world.create(s)
	if err == nil && s.From != "" {
		if err = b.settle(ctx); err != nil {
			err = errors.Join(err, d.world.remove(b))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create sandbox %s: %w", s.ID, err)
	}
	return &owned{driver: d, box: b}, nil
}

func (w *World) create(s sandbox.Spec) (*box, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.boxes[s.ID] != nil {
		return nil, errors.New("the sandbox exists already")
	}
	from, err := w.origin(s)
	if err != nil {
		return nil, err
	}
	b, err := newBox(w, s, from)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.dir(s.ID)))
	}
	w.boxes[s.ID] = b
	return b, nil
}

func check(s sandbox.Spec) error {
	l := s.Limits
	switch {
	case !validID.MatchString(string(s.ID)):
		return fmt.Errorf("sandbox id %q must have 1 to 40 letters, digits or '-'", s.ID)
	case min(l.Memory, l.Disk, l.Tmp, l.Output) <= 0 || l.CPU <= 0 || l.Processes <= 0:
		return fmt.Errorf("create sandbox %s: every limit must be set", s.ID)
	}
	return nil
}

// Adopt returns a running sandbox.
func (d *Driver) Adopt(_ context.Context, id sandbox.ID) (sandbox.Sandbox, error) {
	b, err := d.world.find(id)
	if err != nil {
		return nil, err
	}
	if !b.alive() {
		return nil, fmt.Errorf("sandbox %s has ended: %w", id, sandbox.ErrNotFound)
	}
	return &owned{driver: d, box: b}, nil
}

// List returns all sandboxes of the World, sorted by id.
func (d *Driver) List(context.Context) ([]sandbox.Info, error) {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	infos := []sandbox.Info{}
	for _, b := range d.world.boxes {
		infos = append(infos, sandbox.Info{
			ID: b.spec.ID, Alive: b.alive(), Created: b.created, Image: b.spec.Image, Labels: b.marks(),
		})
	}
	slices.SortFunc(infos, func(a, b sandbox.Info) int { return cmp.Compare(a.ID, b.ID) })
	return infos, nil
}

// Remove destroys a sandbox of any driver.
func (d *Driver) Remove(_ context.Context, id sandbox.ID) error {
	b, err := d.world.find(id)
	if err != nil {
		return nil // it is removed already
	}
	return d.world.remove(b)
}

// Close closes the driver's connections. The World and its sandboxes stay.
func (d *Driver) Close() error {
	d.die()
	return nil
}

func (d *Driver) die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for c := range d.conns {
		c.Close()
	}
}

// hold records a connection, so that die closes it.
func (d *Driver) hold(c net.Conn) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		c.Close()
		return nil, errors.New("the driver is closed")
	}
	d.conns[c] = struct{}{}
	return &heldConn{Conn: c, driver: d}, nil
}

type heldConn struct {
	net.Conn
	driver *Driver
}

func (c *heldConn) Close() error {
	c.driver.mu.Lock()
	delete(c.driver.conns, c.Conn)
	c.driver.mu.Unlock()
	return c.Conn.Close()
}
