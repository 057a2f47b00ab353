package kernel

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/outputs"
	"cellhold/internal/record"
)

// lateDue returns the time until the next write of late output. It returns false when there is none.
func (k *Kernel) lateDue() (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lateSince.IsZero() {
		return 0, false
	}
	at := k.lateSince.Add(latePause)
	if k.lateNext.After(at) {
		at = k.lateNext
	}
	return max(time.Until(at), 0), true
}

// writeLate writes the records of cells with late output, and then gathers output that waits in the journal. It
// sets the time of the next write: after a pause in proportion to the written bytes.
func (k *Kernel) writeLate(ctx context.Context) {
	k.rec.Lock()
	defer k.rec.Unlock()
	k.reportLost(ctx)
	written, _ := k.writeGathered(ctx)
	read := k.catchUp(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lateNext = time.Now().Add(pauseAfter(written + read/readShare))
	k.lateSince = time.Time{}
	k.startLate()
}

// pauseAfter returns the pause after a write of the given size.
func pauseAfter(bytes int64) time.Duration {
	return time.Duration(float64(latePause) * float64(bytes) / (1 << 20))
}

// lastLate writes the gathered output when the Kernel stops. Output that cannot be written is left to the
// next Kernel, and to the next start of the server.
func (k *Kernel) lastLate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	k.rec.Lock()
	defer k.rec.Unlock()
	k.reportLost(ctx)
	for ctx.Err() == nil {
		if _, err := k.writeGathered(ctx); err != nil {
			break
		}
		k.catchUp(ctx)
		if k.gathered() == 0 {
			break
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.late {
		k.release(l)
		if d := l.done; l.first > 0 {
			d.behind, d.since = true, l.first
		}
	}
}

// gathered returns the number of cells with gathered output.
func (k *Kernel) gathered() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.late)
}

// canReport reports whether the journal has space for a report of dropped output. Reports can use half of the
// reserve. The other half is for questions and exceptions.
func (k *Kernel) canReport() bool { return k.o.Log.Kept() < k.o.SessionOutput+reserve/2 }

// reportLost records how much late output was dropped. The caller must hold rec.
func (k *Kernel) reportLost(ctx context.Context) {
	if !k.canReport() {
		return
	}
	var evs []record.Event
	k.mu.Lock()
	for _, id := range k.order {
		if d := k.done[id]; d.lost.Bytes > 0 {
			evs = append(evs, record.NewEvent(cellhold.EventOutputDropped, k.o.ID, id, d.lost))
		}
	}
	k.mu.Unlock()
	if len(evs) == 0 {
		return
	}
	if err := k.o.Log.Append(ctx, evs); err != nil {
		k.o.Logger.Error("report lost output", "err", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, ev := range evs {
		d, l := k.done[ev.Cell], k.late[ev.Cell]
		d.lost = cellhold.OutputDroppedContent{}
		if l != nil && !d.behind && k.tryFold(l, ev) {
			l.recorded(ev.Seq)
		} else if d.since == 0 {
			d.behind, d.since = true, ev.Seq
		}
	}
}

// writeGathered writes the gathered output, oldest first, at most maxLateBytes. Records that cannot be
// written stay and are tried again. It returns the bytes written and the first error. The caller must hold
// rec.
func (k *Kernel) writeGathered(ctx context.Context) (written int64, first error) {
	k.mu.Lock()
	list := slices.SortedFunc(maps.Values(k.late), func(a, b *late) int { return cmp.Compare(a.first, b.first) })
	k.mu.Unlock()
	for _, l := range list {
		if written > maxLateBytes {
			break
		}
		if l.first > 0 {
			n, err := k.writeOne(ctx, l)
			written += n
			if err != nil && cellhold.KindOf(err) != cellhold.NotFound {
				k.o.Logger.Error("record late output", "cell", l.cell.ID, "err", err)
				first = cmp.Or(first, err)
				continue
			}
		}
		k.mu.Lock()
		k.release(l)
		k.mu.Unlock()
	}
	return written, first
}

// writeOne writes one record, and the displays of earlier cells that its late output has updated.
func (k *Kernel) writeOne(ctx context.Context, l *late) (written int64, err error) {
	k.mu.Lock()
	c := l.filled()
	updates := l.folder.Updates()
	k.mu.Unlock()
	written = outputs.Size(c.Outputs)
	if err := k.o.Log.Append(ctx, nil, &c); err != nil {
		return written, err
	}
	updates = slices.DeleteFunc(updates, func(u notebook.Update) bool { return !l.shown[u.DisplayID] })
	if len(updates) > 0 && k.o.Updates != nil {
		k.updateLate(updates, l)
		written += k.o.Updates(ctx, c, updates)
	}
	if k.o.Changed != nil {
		k.o.Changed()
	}
	return written, nil
}
