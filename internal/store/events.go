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
	records, done, err := d.encodeCells(ctx, cells)
	if err != nil {
		return fmt.Errorf("append to session %s: %w", id, err)
	}
	defer done()
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

// smallEvents selects events, and the contents of those whose contents are not large.
var smallEvents = fmt.Sprintf(`SELECT id, time, kernel, cell, type, boot, source, crc, length(content),
	CASE WHEN length(content) <= %d THEN content END FROM events`, large)

// oneEvent selects one event with its content.
const oneEvent = `SELECT id, time, kernel, cell, type, boot, source, crc, length(content), content FROM events WHERE id = ?`

// Read yields the events with numbers above after, in order, up to the newest. It holds no connection while the consumer
// works. For a damaged event it yields the number and ErrDamaged, and continues. Any other error is the last item. A large
// content takes a share of the memory for large records, until the consumer continues. The consumer must not read other
// records in this time.
func (d *DB) Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	return d.events(ctx, smallEvents+` WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, id, after)
}

// ReadType is like Read, for events of one type. It does not read the contents of other events.
func (d *DB) ReadType(ctx context.Context, id cellhold.SessionID, t cellhold.EventType, after int64) iter.Seq2[record.Event, error] {
	return d.events(ctx, smallEvents+` WHERE id > ? AND id <= ? AND type = ? ORDER BY id LIMIT ?`, id, after, string(t))
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
		pages(ctx, d.budget(ctx), yield, d.deleted(ctx, id), func() (batch[record.Event], error) {
			args := append(append([]any{next, high}, more...), batchRows)
			return fill(ctx, d.read, query, args, func(rows *sql.Rows) (it item[record.Event], n int, err error) {
				if it.value, it.size, err = scanEvent(rows.Scan, id, &next); it.size == 0 {
					return it, len(it.value.Content), err
				}
				row, size := next, it.size
				it.load = func(ctx context.Context, _ int64) (record.Event, int64, error) { // an event does not grow
					var again int64
					e, _, err := scanEvent(d.read.QueryRowContext(ctx, oneEvent, row).Scan, id, &again)
					return e, size, err
				}
				return it, int(it.size), err
			})
		})
	}
}

// scanEvent reads one row and sets next to its id. If the row is without its large content, scanEvent returns the size of
// the content.
func scanEvent(scan func(...any) error, id cellhold.SessionID, next *int64) (e record.Event, absent int64, err error) {
	var nanos, source, sum, size column[int64]
	var kernel, of, kind, boot column[string]
	var content column[[]byte]
	err = scan(next, &nanos, &kernel, &of, &kind, &boot, &source, &sum, &size, &content)
	if err != nil {
		return e, 0, err
	}
	e.Seq, e.Time, e.Kernel = number(*next), fromNanos(nanos.value), cellhold.KernelID(kernel.value)
	e.Type, e.Boot, e.Source, e.Content = cellhold.EventType(kind.value), boot.value, source.value, content.value
	setSubject(&e, of.value)
	if size.value > large && e.Content == nil {
		return e, size.value, nil
	}
	if eventSum(id, &e) != sum.value {
		return record.Event{Event: cellhold.Event{Seq: e.Seq}}, 0, fmt.Errorf("event %d of session %s: %w", e.Seq, id, ErrDamaged)
	}
	if e.Type == suspendedEvent {
		e.Type = cellhold.EventSessionHibernated
	}
	return e, 0, nil
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

// deleted returns a function that returns an error if the session was deleted.
func (d *DB) deleted(ctx context.Context, id cellhold.SessionID) func() error {
	return func() error {
		key, err := d.key(ctx, id)
		if err == nil && key == 0 {
			err = errDeleted(id)
		}
		return err
	}
}

func errDeleted(id cellhold.SessionID) error {
	return cellhold.Errorf(cellhold.NotFound, "Session %s was deleted.", id)
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
