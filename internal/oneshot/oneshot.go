// Package oneshot runs code once: each run gets a session of its own, which the package ends after the run.
//
// A batch is a list of runs. A few of them run at the same time. A single run is a batch of one run. The results of a
// batch are in a file, so that a slow reader takes no memory. With a key, the file stays for a day. Each request with
// this key gets this batch. No code runs twice, even after a crash of the server.
//
// The package uses sessions as any caller does. It knows nothing about HTTP. Package registry deletes the sessions of
// runs that an earlier server did not complete.
//
// Lock order: Runs.opening, Runs.mu, Batch.mu, quota.mu.
package oneshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/exclusive"
	"cellhold/internal/memory"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

const (
	// budget limits the memory of all results that are collected and not yet in a file.
	budget = 256 << 20
	// defaultParallel is the number of runs of a batch that run at the same time, if the request names none.
	defaultParallel = 8
)

// Options configures Runs. All fields are required.
type Options struct {
	// Create creates the session of a run. If the run does not end the session, it ends after lifetime. A later server
	// must delete the session. An Exhausted error means that a later call can succeed.
	Create      func(ctx context.Context, owner string, q cellhold.RunRequest, lifetime time.Duration) (*session.Session, error)
	Home        string        // state directory of the server
	MaxSessions int           // maximum number of sessions of the server
	MaxTimeout  time.Duration // maximum timeout of a cell or a command
	Logger      *slog.Logger
}

// Runs has the batches whose code runs or whose results a caller reads. Its methods can be called from any goroutine.
type Runs struct {
	o        Options
	dir      string // folder of the files
	memory   *memory.Budget
	places   *turns // held by the runs of batches; half of the sessions are left for other callers
	requests *quota // batches, and the bytes of their requests
	files    *quota // files, and their bytes

	opening exclusive.Keys // held while a batch with a key is opened
	work    sync.WaitGroup // counts the goroutines of batches

	mu      sync.Mutex
	closed  bool
	batches map[*Batch]bool
	keyed   map[string]*Batch // by name and digest
	sweep   *time.Timer       // removes old files

	sweeping sync.WaitGroup // counts the timer while it is set or runs
}

// New returns Runs without batches. The caller must call Close.
func New(o Options) *Runs {
	places := min(max(o.MaxSessions/2, 1), MaxParallel)
	r := &Runs{o: o, dir: filepath.Join(o.Home, "runs"), memory: memory.New(budget), places: newTurns(places),
		requests: newQuota(amount{maxBatches, maxRequests}), files: newQuota(amount{maxStored, maxKept}),
		batches: map[*Batch]bool{}, keyed: map[string]*Batch{}}
	r.countFiles()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweeping.Add(1)
	r.sweep = time.AfterFunc(0, r.removeAgain)
	return r
}

// Close ends all batches and waits for them. Runs that were running are lost. Close can be called twice.
func (r *Runs) Close() {
	r.mu.Lock()
	r.closed = true
	if r.sweep.Stop() {
		r.sweeping.Done()
	}
	for b := range r.batches {
		b.cancel(errClosed)
	}
	r.mu.Unlock()
	r.work.Wait()
	r.sweeping.Wait()
}

var errClosed = cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. Retry in a moment.")

// maxRefused is the maximum size of the result of a refused run.
const maxRefused = 16 << 10

// Run runs code once, and passes the result as JSON to use. If ctx ends first, the run ends too. With a key, the run
// continues, and a request with the same key gets its result. If the code did not run, Run returns the reason as an
// error.
func (r *Runs) Run(ctx context.Context, owner, key string, q cellhold.RunRequest, use func(*io.SectionReader) error) error {
	b, err := r.start(ctx, owner, key, []cellhold.RunRequest{q}, 1, true)
	if err != nil {
		return err
	}
	defer b.Leave()
	line, err := b.Result(ctx, 0)
	if err != nil {
		return err
	}
	if err := refusal(line); err != nil {
		return err
	}
	return use(line)
}

// refusal returns the error of a run that was refused.
func refusal(line *io.SectionReader) error {
	if line.Size() > maxRefused {
		return nil
	}
	var result struct{ Error *cellhold.RunError }
	err := json.NewDecoder(line).Decode(&result)
	if _, seek := line.Seek(0, io.SeekStart); err != nil || seek != nil {
		return errors.Join(err, seek)
	}
	if e := result.Error; e != nil {
		return cellhold.Errorf(e.Kind, "%s", e.Detail)
	}
	return nil
}

// Start starts a batch, or finds the batch with the key. The caller must call Leave. Without a key, the batch ends with
// Leave. With a key, it continues. Parallel 0 means the default.
func (r *Runs) Start(ctx context.Context, owner, key string, list []cellhold.RunRequest, parallel int) (*Batch, error) {
	return r.start(ctx, owner, key, list, parallel, false)
}

// start starts a batch. A single run does not wait for a free session.
func (r *Runs) start(ctx context.Context, owner, key string, list []cellhold.RunRequest, parallel int, single bool) (*Batch, error) {
	if len(list) == 0 || len(list) > MaxRuns {
		return nil, invalid("The batch has %d runs: send 1 to %d.", len(list), MaxRuns)
	}
	if parallel == 0 {
		parallel = defaultParallel
	}
	if parallel < 0 || parallel > MaxParallel {
		return nil, invalid("Invalid parallel %d: use 1 to %d, or 0 for the default.", parallel, MaxParallel)
	}
	if err := terms.CheckKey(key); err != nil {
		return nil, err
	}
	b := &Batch{runs: r, owner: owner, plans: make([]plan, len(list)), parallel: min(parallel, len(list)), single: single, users: 1,
		changed: make(chan struct{}), ended: make(chan struct{})}
	for i, q := range list {
		var err error
		if b.plans[i], err = newPlan(q, r.o.MaxTimeout); err != nil {
			return nil, inBatch(len(list), i, err)
		}
		b.size += sizeOfRequest(q)
		b.least += leastResult(q)
	}
	b.ctx, b.cancel = context.WithCancelCause(memory.Detach(ctx))
	if key == "" {
		b.todo = missing(len(list), found{})
		return b, r.begin(b, func() (err error) { b.file, err = r.scratch(b); return err })
	}
	b.name, b.digest = nameOf(owner, key), digestOf(list)
	return r.startKeyed(ctx, b)
}

// inBatch adds the number of a run to the error of an invalid request.
func inBatch(count, i int, err error) error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok && count > 1 {
		return cellhold.Wrap(e.Kind, e.Err, "Run %d: %s", i, e.Message)
	}
	return err
}

func digestOf(list []cellhold.RunRequest) string {
	b, _ := json.Marshal(list) // cannot fail: strings and numbers only
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// startKeyed starts b. If a batch with the name and the digest of b runs or is read, it returns this batch instead.
func (r *Runs) startKeyed(ctx context.Context, b *Batch) (*Batch, error) {
	release, err := r.opening.Hold(ctx, b.name)
	if err != nil {
		b.cancel(err)
		return nil, err
	}
	defer release()
	r.mu.Lock()
	same := r.keyed[b.name+b.digest]
	if same != nil {
		same.users++
	}
	r.mu.Unlock()
	if same != nil {
		b.cancel(nil)
		return same, nil
	}
	return b, r.begin(b, func() error { return r.open(b) })
}

// begin opens the file of a batch and starts its runs. After an error, the batch is removed.
func (r *Runs) begin(b *Batch, open func() error) error {
	if err := r.add(b); err != nil {
		b.cancel(err)
		return err
	}
	if err := open(); err != nil {
		b.settle()
		b.leave() // of its own goroutine
		b.leave() // of the caller
		r.work.Done()
		return err
	}
	go func() { // Close waits for it
		defer r.work.Done()
		defer b.leave()
		defer close(b.ended)
		b.run()
		b.settle()
	}()
	return nil
}

// add adds a batch within the limits. The batch then has one more user: its own goroutine.
func (r *Runs) add(b *Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	if !r.requests.take(b.owner, amount{1, b.size}) {
		return cellhold.Errorf(cellhold.Exhausted, "Too many runs are running or read. The limits are %d runs and batches, with requests of %d MiB. One token can use half of both. Retry when a run has ended.",
			maxBatches, maxRequests>>20)
	}
	b.users++
	r.work.Add(1)
	r.batches[b] = true
	if b.name != "" {
		r.keyed[b.name+b.digest] = b
	}
	return nil
}

// sizeOfRequest returns the bytes that a request takes in memory, approximately.
func sizeOfRequest(q cellhold.RunRequest) int64 {
	const header, entry = 16, 128 // of a string, and of an entry of a list or a map
	n := 1<<10 + len(q.Code) + len(q.Command) + len(q.Stdin)
	texts := func(list []string) {
		for _, s := range list {
			n += header + len(s)
		}
	}
	texts(q.Args)
	texts(q.Packages)
	for name, value := range q.Env {
		n += entry + len(name) + len(value)
	}
	for _, f := range q.Files {
		n += entry + len(f.Path) + 2*len(f.Content) // the content as it was sent, and the decoded content
	}
	for _, t := range q.Tests {
		n += entry + len(t.Stdin)
		texts(t.Args)
		if t.Stdout != nil {
			n += len(*t.Stdout)
		}
	}
	if q.Egress != nil {
		texts(q.Egress.Hosts)
	}
	return int64(n)
}
