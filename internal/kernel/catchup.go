package kernel

import (
	"context"

	"cellhold"
	"cellhold/internal/record"
)

// catchUp gathers late output from the journal that had no space in memory before. It reads at most maxLateBytes.
// The next call continues where this one stopped. catchUp returns the number of bytes read. The caller must hold rec.
func (k *Kernel) catchUp(ctx context.Context) (read int64) {
	group, read := k.gatherBehind(ctx)
	if len(group) == 0 {
		return read
	}
	next, records := group[0].done.since, read
	for _, l := range group {
		next = min(next, l.done.since)
	}
	complete := true
	for ev, err := range k.o.Journal.Read(ctx, k.o.Session, next-1) {
		if err != nil && ev.Seq == 0 || read-records > maxLateBytes {
			complete = false
			break
		}
		next = ev.Seq + 1
		read += int64(len(ev.Content)) + eventCost
		if l := k.lateOf(ev.Cell); err == nil && l != nil && ev.Kernel == k.o.ID && isOutput(ev.Type) {
			k.foldFromJournal(l, ev)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range group {
		l.caughtUp(next, complete)
		l.folded = k.cursor
		if l.first == 0 {
			k.release(l) // its output was not found yet
		}
	}
	return read
}

// gatherBehind starts to gather for the cells whose late output is only in the journal: the oldest first, and as
// many as there is space for. It returns these cells and the size of their records. The caller must hold rec.
func (k *Kernel) gatherBehind(ctx context.Context) (group []*late, read int64) {
	var list []*doneCell
	k.mu.Lock()
	for _, id := range k.order {
		if d := k.done[id]; d.since > 0 && k.late[id] == nil {
			list = append(list, d)
		}
	}
	k.mu.Unlock()
	for _, d := range list {
		l, err := k.gather(ctx, d)
		if ctx.Err() != nil {
			return group, read
		}
		if err != nil {
			k.o.Logger.Warn("read the record of a cell with late output", "cell", d.id, "err", err)
			k.mu.Lock()
			k.forget(d.id) // its output stays in the journal
			k.mu.Unlock()
		}
		if l != nil {
			l.stopped = false
			group, read = append(group, l), read+l.held
		}
	}
	return group, read
}

func (k *Kernel) lateOf(id cellhold.CellID) *late {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.late[id]
}

// foldFromJournal folds an event of the journal, unless it is gathered already.
func (k *Kernel) foldFromJournal(l *late, ev record.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch d := l.done; {
	case d.since == 0 || l.stopped || ev.Seq < d.since || ev.Seq <= l.cell.Last:
	case k.tryFold(l, ev):
		l.recorded(ev.Seq)
	default:
		l.stopped, d.since = true, ev.Seq
	}
}

// caughtUp stores the position up to which the journal was read. The caller must hold mu.
func (l *late) caughtUp(next int64, complete bool) {
	switch d := l.done; {
	case l.stopped:
	case complete:
		d.behind, d.since = false, 0
	default:
		d.since = max(d.since, next)
	}
}
