package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"
)

var (
	// ErrDuplicate says that an event with this or a higher source number is recorded already.
	ErrDuplicate = errors.New("event is recorded already")
	// ErrDamaged says that a record is not the same as when it was written. If an iterator yields ErrDamaged with an id or a
	// number, it continues with the other records.
	ErrDamaged = errors.New("record is damaged")
)

// A batch of a read ends at one of these limits. So a slow reader needs only the memory of one batch and one record, and
// no connection.
const (
	batchRows  = 256
	batchBytes = 256 << 10
)

// Append records events of one session together with the records of the cells that they changed, atomically. The numbers of
// the events must follow the newest recorded one without a gap, and the sources of each kernel and boot must increase.
// Otherwise it records nothing and returns an error: ErrDuplicate if a source does not increase.
func (d *DB) Append(ctx context.Context, id cellhold.SessionID, evs []record.Event, cells ...record.Cell) error {
	if len(evs) == 0 && len(cells) == 0 {
		return nil
	}
	records, err := encodeCells(cells)
	if err != nil {
		return fmt.Errorf("append to session %s: %w", id, err)
	}
	err = d.write.transact(ctx, id, func(ctx context.Context, h *head) error {
		for i, c := range cells {
			if err := d.write.storeCell(ctx, h, id, c, records[i]); err != nil {
				return err
			}
		}
		return d.write.append(ctx, h, id, evs)
	})
	if err != nil {
		return fmt.Errorf("append to session %s: %w", id, err)
	}
	return nil
}

func (w *writer) append(ctx context.Context, h *head, id cellhold.SessionID, evs []record.Event) error {
	var newest map[agentRun]int64
	for i := range evs {
		e := &evs[i]
		if e.Seq != h.tail+1 || e.Seq > maxNumber {
			return fmt.Errorf("event %d does not follow event %d", e.Seq, h.tail)
		}
		if e.Source > 0 {
			l := agentRun{e.Kernel, e.Boot}
			if e.Source <= h.cursors[l] {
				return fmt.Errorf("event %d of kernel %s: %w", e.Source, e.Kernel, ErrDuplicate)
			}
			h.cursors[l] = e.Source
			if newest == nil {
				newest = make(map[agentRun]int64, 1)
			}
			newest[l] = e.Source
		}
		_, err := w.addEvent.ExecContext(ctx, h.key<<32|e.Seq, toNanos(e.Time), string(e.Kernel), subject(e),
			string(e.Type), e.Boot, e.Source, eventSum(id, e), []byte(e.Content))
		if err != nil {
			return err
		}
		h.tail = e.Seq
	}
	for l, source := range newest {
		if _, err := w.putCursor.ExecContext(ctx, h.key, string(l.kernel), l.boot, source); err != nil {
			return err
		}
	}
	return nil
}

// Read yields the events with numbers above after, in order, up to the newest. It holds no connection while the consumer
// works. For a damaged event it yields the number and ErrDamaged, and continues. Any other error is the last item.
func (d *DB) Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	return d.events(ctx, `SELECT id, time, kernel, cell, type, boot, source, crc, content
		FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, id, after)
}

// ReadType is like Read, for events of one type. It does not read the contents of other events.
func (d *DB) ReadType(ctx context.Context, id cellhold.SessionID, t cellhold.EventType, after int64) iter.Seq2[record.Event, error] {
	return d.events(ctx, `SELECT id, time, kernel, cell, type, boot, source, crc, content
		FROM events WHERE id > ? AND id <= ? AND type = ? ORDER BY id LIMIT ?`, id, after, string(t))
}

// events yields the events that a query finds with numbers above after. more has further arguments of the query.
func (d *DB) events(ctx context.Context, query string, id cellhold.SessionID, after int64, more ...any) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		key, err := d.key(ctx, id)
		if err != nil {
			yield(record.Event{}, fmt.Errorf("read session %s: %w", id, err))
			return
		}
		low, high := span(key)
		next := low | min(max(after, 0), maxNumber)
		pages(yield, func() (batch[record.Event], error) {
			args := append(append([]any{next, high}, more...), batchRows)
			return fill(ctx, d.read, query, args, func(rows *sql.Rows) (record.Event, int, error) {
				e, err := scanEvent(rows, id, &next)
				return e, len(e.Content), err
			})
		})
	}
}

// scanEvent reads one row and sets next to its id.
func scanEvent(rows *sql.Rows, id cellhold.SessionID, next *int64) (e record.Event, err error) {
	var nanos, sum int64
	var of string
	err = rows.Scan(next, &nanos, &e.Kernel, &of, &e.Type, &e.Boot, &e.Source, &sum, (*[]byte)(&e.Content))
	if err != nil {
		return e, err
	}
	e.Seq, e.Time = number(*next), fromNanos(nanos)
	setSubject(&e, of)
	if eventSum(id, &e) != sum {
		return record.Event{Event: cellhold.Event{Seq: e.Seq}}, fmt.Errorf("event %d of session %s: %w", e.Seq, id, ErrDamaged)
	}
	if e.Type == suspendedEvent {
		e.Type = cellhold.EventSessionHibernated
	}
	return e, nil
}

// Tail returns the number of the session's newest event, or 0, and the bytes of the contents of all events. SQLite reads the
// lengths without the contents.
func (d *DB) Tail(ctx context.Context, id cellhold.SessionID) (seq, bytes int64, err error) {
	const query = `SELECT coalesce(max(id), 0), coalesce(sum(length(content)), 0) FROM events WHERE id BETWEEN ? AND ?`
	key, err := d.key(ctx, id)
	if err == nil {
		low, high := span(key)
		err = outward(d.read.QueryRowContext(ctx, query, low, high).Scan(&seq, &bytes))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("newest event of session %s: %w", id, err)
	}
	return number(seq), bytes, nil
}

// Cursor returns the newest recorded source number of one run of an agent, or 0.
func (d *DB) Cursor(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, boot string) (source int64, err error) {
	const query = `SELECT source FROM cursors JOIN sessions ON key = session
		WHERE id = ? AND kernel = ? AND boot = ?`
	err = d.read.QueryRowContext(ctx, query, id, k, boot).Scan(&source)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("cursor of kernel %s of session %s: %w", k, id, outward(err))
	}
	return source, nil
}

// key returns the session's key, or 0 if there is no such session.
func (d *DB) key(ctx context.Context, id cellhold.SessionID) (key int64, err error) {
	err = d.read.QueryRowContext(ctx, `SELECT key FROM sessions WHERE id = ? AND erased = 0`, id).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return key, outward(err)
}

// toNanos and fromNanos map the zero time to 0: it cannot be expressed in nanoseconds since 1970.
func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
