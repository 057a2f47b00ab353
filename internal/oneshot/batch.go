package oneshot

import (
	"context"
	"io"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/pause"
)

const (
	// firstPause and maxPause bound the pause before a retry of a run that found no free session. No event reports that
	// a session has ended or that a quota has space.
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
	// patience is the time in which a run of a batch waits for a free session.
	patience = 10 * time.Minute
	// maxFull limits the results of a batch with all their parts. Above it, further results lose their outputs and
	// files.
	maxFull = 256 << 20
)

// Batch is a list of runs with their results so far.
type Batch struct {
	runs     *Runs
	owner    string
	name     string // of the file; empty for a batch without a key
	digest   string // of the requests
	plans    []plan
	parallel int
	single   bool            // the run does not wait for a free session
	ctx      context.Context // of its runs
	cancel   context.CancelCauseFunc
	file     *journal
	size     int64         // bytes of its requests
	least    int64         // maximum bytes of its results without their large parts
	ended    chan struct{} // closed when its runs have ended
	users    int           // the callers between Start and Leave, and the goroutine of the runs; Runs.mu guards it

	mu      sync.Mutex
	results []span // in the order of completion
	todo    []int  // runs that did not begin
	again   bool   // a run was refused, so a later request with the key tries it again
	counted amount // that Runs.files has for the batch
	err     error  // why the batch ended early
	changed chan struct{}
}

// Len returns the number of runs.
func (b *Batch) Len() int { return len(b.plans) }

// Leave ends a caller's use of a batch. If the batch has no key, Leave ends it and waits for its end. If a batch with a
// key has all results, Leave waits until its goroutine has ended. Then a later request with the key tries the refused
// runs again.
func (b *Batch) Leave() {
	b.mu.Lock()
	done := len(b.results) == len(b.plans)
	b.mu.Unlock()
	if b.name == "" {
		b.cancel(context.Canceled)
	}
	if b.name == "" || done {
		<-b.ended
	}
	b.leave()
}

// leave releases the batch after its last user.
func (b *Batch) leave() {
	r := b.runs
	r.mu.Lock()
	b.users--
	last := b.users == 0
	if last {
		delete(r.batches, b)
		r.forget(b)
	}
	r.mu.Unlock()
	if !last {
		return
	}
	b.cancel(nil)
	r.requests.change(b.owner, amount{-1, -b.size})
	if b.name == "" {
		b.count(amount{})
	}
	if b.file == nil {
		return
	}
	if err := b.file.close(); err != nil {
		r.o.Logger.Error("closing the results of a batch", "err", err)
	}
}

// forget makes later requests open the file of a batch instead of this batch. The caller must hold mu.
func (r *Runs) forget(b *Batch) {
	if r.keyed[b.name+b.digest] == b {
		delete(r.keyed, b.name+b.digest)
	}
}

// settle ends the work on a batch with a key after its last run. It counts the real size of the file. If a run was
// refused or the batch ended early, a later request tries again, even while callers read this batch.
func (b *Batch) settle() {
	if b.name == "" {
		return
	}
	b.runs.mu.Lock()
	defer b.runs.mu.Unlock()
	b.mu.Lock()
	again := b.again || b.err != nil
	b.mu.Unlock()
	if again {
		b.runs.forget(b)
	}
	now := amount{}
	if b.file != nil {
		now = amount{1, b.file.size()}
	}
	b.count(now)
}

// count sets the amount that Runs.files counts for the batch.
func (b *Batch) count(now amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs.files.change(accountOf(b.owner), amount{now.count - b.counted.count, now.bytes - b.counted.bytes})
	b.counted = now
}

// Result waits for the nth result in the order of completion, and returns it as JSON. The caller can use the reader
// until it calls Leave.
func (b *Batch) Result(ctx context.Context, n int) (*io.SectionReader, error) {
	at, err := b.await(ctx, n)
	if err != nil {
		return nil, err
	}
	return b.file.read(at), nil
}

// await waits until there are more than n results, and returns the place of result n in the file.
func (b *Batch) await(ctx context.Context, n int) (span, error) {
	for {
		b.mu.Lock()
		if n < len(b.results) {
			defer b.mu.Unlock()
			return b.results[n], nil
		}
		err, changed := b.err, b.changed
		b.mu.Unlock()
		if err != nil {
			return span{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return span{}, context.Cause(ctx)
		}
	}
}

// run runs the code of the batch, until all runs are done or the batch's context ends.
func (b *Batch) run() {
	var workers sync.WaitGroup
	for range min(b.parallel, len(b.todo)) {
		workers.Go(func() {
			for i, ok := b.next(); ok; i, ok = b.next() {
				if err := b.runOne(i); err != nil {
					b.fail(err)
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(b.ctx); err != nil {
		b.fail(err)
	}
}

// next returns the next run to begin.
func (b *Batch) next() (i int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.todo) == 0 || b.ctx.Err() != nil {
		return 0, false
	}
	i, b.todo = b.todo[0], b.todo[1:]
	return i, true
}

// fail ends the batch early.
func (b *Batch) fail(err error) {
	b.cancel(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		b.tell()
	}
}

// tell wakes the readers. The caller must hold mu.
func (b *Batch) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// runOne runs one run of the batch and stores its result. An error ends the batch.
func (b *Batch) runOne(i int) error {
	o, err := b.attempt(i)
	defer o.share.Release()
	if cause := context.Cause(b.ctx); cause != nil && err != nil {
		if o.begun && b.name != "" { // the run must not run again
			return b.put(i, lost(i, "The server ended the run. It is not repeated: send it with a new key to run it again."), true, 0)
		}
		return cause
	}
	if err != nil {
		kind, detail := cellhold.KindOf(err), causeOf(err)
		if kind == cellhold.Internal {
			b.runs.o.Logger.Error("running code", "err", err)
			detail = "Internal error. The server's log has the details."
		}
		o.result = refused(i, kind, detail)
	}
	least := leastResult(b.plans[i].request)
	b.plans[i] = plan{} // the request is no longer needed
	o.result.Index = i
	return b.put(i, o.result, o.begun, least)
}

// attempt tries a run once, and retries it while there is no free session.
func (b *Batch) attempt(i int) (o outcome, err error) {
	wait, until := firstPause, time.Now().Add(patience)
	for {
		o, err = b.once(i)
		if o.created || cellhold.KindOf(err) != cellhold.Exhausted || err == nil || b.single || time.Now().After(until) {
			return o, err
		}
		if !pause.For(b.ctx, wait) {
			return o, context.Cause(b.ctx)
		}
		wait = min(2*wait, maxPause)
	}
}

// once tries a run one time. A run of a batch first waits for a place.
func (b *Batch) once(i int) (outcome, error) {
	if !b.single {
		release, err := b.runs.places.take(b.ctx, b.owner)
		if err != nil {
			return outcome{}, err
		}
		defer release()
	}
	return b.runs.runOnce(b.ctx, b.owner, b.plans[i], func() error { return b.file.begin(i) })
}

// put stores a result and tells the readers. Later requests with the key get a final result too. If the file is too
// large, or the owner's quota allows only least bytes, the result loses its large parts.
func (b *Batch) put(i int, result cellhold.RunResult, final bool, least int64) error {
	line, err := encode(result)
	if err == nil && int64(len(line)) > least && (b.file.size() > maxFull || !b.grow(int64(len(line))-least)) {
		line, err = encode(slim(result))
	}
	if err != nil {
		return err
	}
	at, err := b.file.done(i, line, final)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = b.again || !final && result.Status == cellhold.RunRefused
	b.results = append(b.results, at)
	b.tell()
	return nil
}

// grow counts n more bytes for the file, if the limits allow it.
func (b *Batch) grow(n int64) bool {
	if !b.runs.files.take(accountOf(b.owner), amount{0, n}) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counted.bytes += n
	return true
}
