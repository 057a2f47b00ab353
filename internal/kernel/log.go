package kernel

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/memory"
	"cellhold/internal/record"
)

// Journal stores the events of sessions. Its methods are safe for concurrent use.
type Journal interface {
	// Append stores events and the records of cells that they changed. The caller has numbered the events
	// without a gap. If Append returns an error, nothing is stored.
	Append(ctx context.Context, id cellhold.SessionID, evs []record.Event, cells ...record.Cell) error
	// Read yields the events with numbers above after, in order, up to the newest at the time of the call. For a
	// damaged event it yields the number and an error, and continues. Any other error is the last element.
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error]
	// Tail returns the number of the newest event, or 0 if there is none, and the bytes of all contents.
	Tail(ctx context.Context, id cellhold.SessionID) (seq, bytes int64, err error)
	// Cursor returns the highest of the agent's own numbers that is stored for a kernel and boot.
	Cursor(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, boot string) (int64, error)
}

// Bounds of the newest events that a log keeps in memory. Fast watchers read from memory. A slow watcher
// reads older events from the journal, so the log does not keep more events for it.
const (
	tailEvents = 512
	tailBytes  = 1 << 20
	// watchBytes is the approximate memory of one watcher, even if the watcher never reads.
	watchBytes = 64 << 10
)

// Log has the numbered events of one session, which its kernels share. It numbers events, writes them to
// the journal, and only then shows them to watchers.
type Log struct {
	session cellhold.SessionID
	journal Journal

	write sync.Mutex // held while events are numbered, stored and shown; locked before mu

	mu      sync.Mutex
	next    int64          // number of the next event
	tail    []record.Event // the newest events, without a gap
	bytes   int            // of their contents
	kept    int64          // bytes that all events take in the journal
	late    int64          // bytes of late output that the kernels hold in memory
	running int64          // bytes of the outputs of running cells that the kernels hold in memory
	changed chan struct{}  // closed and replaced when events are appended or the log closes
	closed  bool
	err     error // the error with which watches end; nil: none

	lateShare, runningShare *memory.Share // shares of lateBudget and runningBudget
}

// Bounds of the outputs in memory. A session can always hold ownOutputs for its running cells. Above that, the sessions
// share runningBudget, and one session can use sharedOutputs of it.
const (
	ownOutputs    = 16 << 20
	sharedOutputs = 96 << 20
)

var (
	runningBudget = memory.New(512 << 20) // for the outputs of running cells, of all sessions
	lateBudget    = memory.New(256 << 20) // for late output, of all sessions
)

// EmptyLog returns the log of a new session. It reads nothing, so the start of a session does not wait for readers of the
// journal.
func EmptyLog(id cellhold.SessionID, j Journal) *Log {
	return &Log{session: id, journal: j, next: 1, changed: make(chan struct{}),
		lateShare: lateBudget.Empty(), runningShare: runningBudget.Empty()}
}

// NewLog returns the log of a session. It continues where the journal ends.
func NewLog(ctx context.Context, id cellhold.SessionID, j Journal) (*Log, error) {
	last, bytes, err := j.Tail(ctx, id)
	if err != nil {
		return nil, err
	}
	l := EmptyLog(id, j)
	l.next, l.kept = last+1, bytes+last*eventCost
	return l, nil
}

// Append numbers the events, stores them with the changed cells, and shows them. It sets the Seq and, if
// missing, the Time of evs, and First and Last of the cells.
func (l *Log) Append(ctx context.Context, evs []record.Event, cells ...*record.Cell) error {
	return l.AppendWith(ctx, evs, func(ctx context.Context, evs []record.Event) error {
		return l.journal.Append(ctx, l.session, evs, numbered(cells, evs)...)
	})
}

// AppendWith is like Append. keep stores the numbered events and the other changes. If keep returns an error, it
// must have stored nothing.
func (l *Log) AppendWith(ctx context.Context, evs []record.Event, keep func(context.Context, []record.Event) error) error {
	l.write.Lock()
	defer l.write.Unlock()
	if l.isClosed() {
		return cellhold.Errorf(cellhold.Conflict, "The session has ended.")
	}
	now := time.Now().UTC()
	for i := range evs {
		evs[i].Seq = l.next + int64(i)
		if evs[i].Time.IsZero() {
			evs[i].Time = now
		}
	}
	if err := keep(ctx, evs); err != nil {
		return err
	}
	l.publish(evs)
	return nil
}

// Kept returns the bytes that the events of the session take in the journal, of all its kernels and
// commands. All sessions share the disk, so writers of output check a bound first.
func (l *Log) Kept() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// reserveRunning changes the counted size of the outputs of a running cell from old to now. It returns false if they would
// use too much memory.
func (l *Log) reserveRunning(old, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := l.running - old + now
	shared := max(total-ownOutputs, 0)
	if now > old && shared > sharedOutputs || !l.runningShare.Resize(shared) {
		return false
	}
	l.running = total
	return true
}

// countRunning is like reserveRunning, without a check.
func (l *Log) countRunning(old, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running += now - old
	l.runningShare.Resize(l.running - ownOutputs)
}

// reserveLate changes the counted size of late output from old to now. It returns false if the kernels of the
// session, or of all sessions, would use too much memory.
func (l *Log) reserveLate(old, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	others := l.late - old
	if now > old && others > 0 && others+now > maxLateBytes {
		return false
	}
	if !l.lateShare.Resize(others + now) {
		return false
	}
	l.late = others + now
	return true
}

// addLate adds to the counted size of late output without a check.
func (l *Log) addLate(more int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late += more
	l.lateShare.Resize(l.late)
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// numbered sets the first and last event numbers of cells and returns copies of them.
func numbered(cells []*record.Cell, evs []record.Event) []record.Cell {
	out := make([]record.Cell, 0, len(cells))
	for _, c := range cells {
		for _, ev := range evs {
			if ev.Cell != c.ID {
				continue
			}
			if c.First == 0 {
				c.First = ev.Seq
			}
			c.Last = ev.Seq
		}
		out = append(out, *c)
	}
	return out
}

// publish adds events to the tail and wakes the watchers.
func (l *Log) publish(evs []record.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next += int64(len(evs))
	for _, ev := range evs {
		l.bytes += len(ev.Content)
		l.kept += int64(len(ev.Content)) + eventCost
	}
	l.tail = append(l.tail, evs...)
	l.trim()
	close(l.changed)
	l.changed = make(chan struct{})
}

// trim drops the oldest events of the tail. It waits until twice the bound is reached, so that a steady
// flow does not copy the tail for every event.
func (l *Log) trim() {
	if len(l.tail) <= 2*tailEvents && l.bytes <= 2*tailBytes {
		return
	}
	drop := 0
	for drop < len(l.tail) && (len(l.tail)-drop > tailEvents || l.bytes > tailBytes) {
		l.bytes -= len(l.tail[drop].Content)
		drop++
	}
	l.tail = append([]record.Event(nil), l.tail[drop:]...)
}

// Last returns the number of the newest event.
func (l *Log) Last() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - 1
}

// Close ends the log. Watchers get the remaining events, and then err. If err is nil, they just end.
func (l *Log) Close(err error) {
	l.write.Lock() // an Append in progress is shown first
	defer l.write.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed, l.err = true, err
	l.lateShare.Release()
	l.runningShare.Release()
	close(l.changed)
}

// Watch yields the events with numbers above after, and then new events, until the context ends or the log closes.
// It runs on the caller's goroutine, so a slow caller takes no memory.
func (l *Log) Watch(ctx context.Context, after int64) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		for {
			evs, inTail, changed, end := l.after(after)
			if !inTail {
				last, ok := l.replay(ctx, after, yield)
				if !ok {
					return
				}
				after = last
				continue
			}
			for _, ev := range evs {
				if !yield(ev, nil) {
					return
				}
				after = ev.Seq
			}
			if len(evs) > 0 {
				continue
			}
			if end {
				if l.err != nil {
					yield(record.Event{}, l.err)
				}
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(record.Event{}, ctx.Err())
				return
			}
		}
	}
}

// after returns the events with numbers above after, if the tail has all of them.
func (l *Log) after(after int64) (evs []record.Event, inTail bool, changed <-chan struct{}, end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.next - int64(len(l.tail))
	if after >= l.next-1 {
		return nil, true, l.changed, l.closed
	}
	if after+1 < first {
		return nil, false, nil, false
	}
	return copyFirst(l.tail[after+1-first:]), true, l.changed, l.closed
}

// copyFirst returns a copy of the first events. Without the copy, a watcher that stops reading would keep the tail in
// memory.
func copyFirst(evs []record.Event) []record.Event {
	n, bytes := 0, 0
	for n < len(evs) && (n == 0 || bytes+len(evs[n].Content) <= watchBytes) {
		bytes += len(evs[n].Content) + eventCost
		n++
	}
	return slices.Clone(evs[:n])
}

// replay yields events from the journal and returns the last number. A damaged event becomes an event of the type
// record_damaged, so that readers that wait for its number do not wait for ever. It returns false if the caller must stop.
func (l *Log) replay(ctx context.Context, after int64, yield func(record.Event, error) bool) (int64, bool) {
	start := after
	for ev, err := range l.journal.Read(ctx, l.session, after) {
		if seq := ev.Seq; err != nil && seq > after {
			ev, err = record.NewEvent(cellhold.EventRecordDamaged, "", "", struct{}{}), nil
			ev.Seq = seq
		}
		if !yield(ev, err) || err != nil {
			return after, false
		}
		after = ev.Seq
	}
	if after == start { // there are newer events, but the journal has none: the session's records were removed
		yield(record.Event{}, cellhold.Errorf(cellhold.NotFound, "The session's events were removed."))
		return after, false
	}
	return after, true
}
