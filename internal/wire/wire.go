// Package wire connects Jupyter clients with the raw messages of the kernels of one session.
//
// A client has a name, which it chooses. Its messages reach the kernel in order, and each execute_request becomes a
// cell of the session. The client gets all messages on iopub, and the answers to its own requests. If it leaves, its
// messages wait some minutes for it. The package sends messages of its own where a kernel cannot: for cells that never
// ran, and for kernels that died.
//
// It does not know how clients connect, and does not run cells. All kernels of a session are hostile: package guest
// has checked the form of their messages. This package bounds them in number and size, and sends a reply only to the
// client that asked.
//
// Lock order: kernel.mu, then Hub.mu and pool.mu.
package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/pause"
	"cellhold/internal/record"
	"cellhold/internal/session/terms"
)

// The channels of a kernel.
const (
	Shell   = "shell"
	Control = "control"
	Stdin   = "stdin"
	IOPub   = "iopub"
)

// Frame is one Jupyter message. The parts before the buffers are JSON objects, byte for byte as the sender wrote them.
// An empty part means {}.
type Frame struct {
	Channel  string // shell, control, stdin or iopub
	Header   json.RawMessage
	Parent   json.RawMessage
	Metadata json.RawMessage
	Content  json.RawMessage
	Buffers  [][]byte
}

// Link carries the raw messages of one kernel to and from its agent. guest.Wire describes the methods.
type Link interface {
	Send(guestapi.WireMessage) error
	Receive() (guestapi.WireMessage, error)
	Close() error
}

// Sandbox is the live sandbox of the session. Two values are equal if they are the same sandbox.
type Sandbox interface {
	OpenLink(ctx context.Context, k cellhold.KernelID) (Link, error)
	// Run runs f in a goroutine until the sandbox is detached; then f's context ends. It fails if the sandbox is
	// detached already.
	Run(f func(ctx context.Context)) error
}

// Queue is the queue of one kernel's cells. kernel.Kernel describes the methods.
type Queue interface {
	WaitAccepted(ctx context.Context, c cellhold.CellID) error
	Wait(ctx context.Context, c cellhold.CellID) (record.Cell, bool, error)
	Requested() []record.Cell
	Question() int64
	Answered(ctx context.Context, question int64)
	State() cellhold.Kernel
}

// Log has the events of the session. kernel.Log describes the methods.
type Log interface {
	Watch(ctx context.Context, after int64) iter.Seq2[record.Event, error]
	Last() int64
}

// Session has the functions of the session that a Hub needs.
type Session interface {
	// Kernel returns the id and the queue of a kernel. An empty id means the first kernel.
	Kernel(id cellhold.KernelID) (cellhold.KernelID, Queue, error)
	// Present returns the live sandbox, or nil. It does not resume the session.
	Present() Sandbox
	// Enter resumes the session, and returns its sandbox. The session is not saved until leave is called.
	Enter(ctx context.Context) (b Sandbox, leave func(), err error)
	// Cell returns the record of a cell.
	Cell(ctx context.Context, id cellhold.CellID) (record.Cell, error)
	// Submit queues a cell.
	Submit(ctx context.Context, c terms.Cell) error
	// Restart replaces the process of a kernel.
	Restart(ctx context.Context, id cellhold.KernelID) error
	// Ended reports whether the session has ended.
	Ended() bool
	// Go runs f in a goroutine. Its context ends when the session stops, and the session waits for f.
	Go(f func(ctx context.Context))
}

// Hub has the clients of all kernels of one session. Its methods can be called from any goroutine.
type Hub struct {
	s     Session
	owner string
	log   Log
	out   *slog.Logger

	held int64 // bytes of the messages that wait, of all clients; the shared pool guards it

	mu       sync.Mutex
	kernels  map[cellhold.KernelID]*kernel
	watching bool
	closed   error         // why no client can connect; nil if clients can
	earlier  []record.Cell // of clients of an earlier server, in order: those that were not done, or ended a short time ago
}

// New returns the hub of a session. All sessions of an owner share a bound. The caller must call Close.
func New(s Session, owner string, log Log, out *slog.Logger) *Hub {
	return &Hub{s: s, owner: owner, log: log, out: out, kernels: map[cellhold.KernelID]*kernel{}}
}

const (
	// maxName is the limit of a client's name in bytes. A UUID has 36.
	maxName = 256
	// openTime limits the wait for a link of a kernel.
	openTime = 5 * time.Second
)

// Connect connects a client to a kernel. An empty name means a client that cannot return. A second connection of the
// same client replaces the first one, and gets the messages that wait. Connect does not resume a hibernated session. If
// the agent of the sandbox is too old, the error is Unsupported.
func (h *Hub) Connect(ctx context.Context, id cellhold.KernelID, name string) (*Wire, error) {
	if len(name) > maxName {
		return nil, cellhold.Errorf(cellhold.Invalid, "The session_id has %d bytes; the limit is %d bytes.", len(name), maxName)
	}
	id, queue, err := h.s.Kernel(id)
	if err != nil {
		return nil, err
	}
	k, err := h.kernel(id)
	if err != nil {
		return nil, err
	}
	w, adopted, err := k.connect(name, queue)
	if err != nil {
		return nil, err
	}
	if b := h.s.Present(); b != nil {
		opening, cancel := context.WithTimeout(ctx, openTime)
		defer cancel()
		_, err := k.open(opening, b)
		if err == nil {
			k.learn(opening)
		}
		if cellhold.KindOf(err) == cellhold.Unsupported || ctx.Err() != nil {
			w.Close()
			return nil, err
		}
		if err != nil { // a later message opens it
			h.out.Debug("open a wire", "kernel", id, "err", err)
		}
	}
	k.greet(w, queue)
	k.answerEnded(ctx, adopted, queue)
	return w, nil
}

// kernel returns a kernel, and starts to watch the events of the session.
func (h *Hub) kernel(id cellhold.KernelID) (*kernel, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return nil, h.closed
	}
	k := h.kernels[id]
	if k == nil {
		k = newKernel(h, id)
		h.kernels[id] = k
	}
	if !h.watching {
		h.watching = true
		after := h.log.Last()
		h.s.Go(func(ctx context.Context) { h.watch(ctx, after) })
	}
	return k, nil
}

// find returns a kernel that had a client, or nil.
func (h *Hub) find(id cellhold.KernelID) *kernel {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kernels[id]
}

// remove removes a kernel that the session does not have any more.
func (h *Hub) remove(k *kernel) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kernels[k.id] == k {
		delete(h.kernels, k.id)
	}
}

// all returns the kernels that had a client.
func (h *Hub) all() []*kernel {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*kernel, 0, len(h.kernels))
	for _, k := range h.kernels {
		list = append(list, k)
	}
	return list
}

// Attached opens the links of kernels with clients, because the session has another sandbox. It waits for them, so that
// the clients see all messages of later cells.
func (h *Hub) Attached(ctx context.Context, b Sandbox) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	h.each(func(k *kernel) {
		if _, _, err := h.s.Kernel(k.id); cellhold.KindOf(err) == cellhold.NotFound { // after a rollback
			h.remove(k)
			k.end(io.EOF)
		}
		if !k.wanted() {
			return
		}
		if _, err := k.open(ctx, b); err != nil {
			h.out.Debug("open a wire", "kernel", k.id, "err", err)
			return
		}
		k.learn(ctx)
	})
}

// each calls f for all kernels that had a client, at the same time, and waits for the calls.
func (h *Hub) each(f func(k *kernel)) {
	var calls sync.WaitGroup
	for _, k := range h.all() {
		calls.Go(func() { f(k) })
	}
	calls.Wait()
}

// goRun runs f in a goroutine of the session, unless the hub is closed.
func (h *Hub) goRun(f func(ctx context.Context)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return false
	}
	h.s.Go(f)
	return true
}

// Close ends all clients. They get what waits for them, and then err, or io.EOF if err is nil: the session has ended. It can
// be called twice.
func (h *Hub) Close(err error) {
	err = cmp.Or(err, io.EOF)
	h.mu.Lock()
	if h.closed == nil {
		h.closed = err
	}
	h.mu.Unlock()
	for _, k := range h.all() {
		k.end(err)
	}
}

// watchPause is the pause after the events could not be read.
const watchPause = time.Second

// watch passes the ends of cells and the states of kernels to the clients.
func (h *Hub) watch(ctx context.Context, after int64) {
	for {
		for ev, err := range h.log.Watch(ctx, after) {
			if err != nil {
				h.out.Debug("watch the events of a session", "err", err)
				break
			}
			after = ev.Seq
			if k := h.find(ev.Kernel); k != nil {
				k.event(ctx, ev)
			}
		}
		if !pause.For(ctx, watchPause) {
			return
		}
	}
}
