package store

import (
	"bytes"
	"cellhold"
	"cellhold/internal/outputs"
	"cellhold/internal/record"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// Older records contain these words for a hibernated session. They are translated when they are read.
const (
	suspendedState cellhold.SessionState = "suspended"
	suspendedEvent cellhold.EventType    = "session_suspended"
)

// PutSession records a new or changed session. A deleted session stays deleted.
func (d *DB) PutSession(ctx context.Context, s record.Session) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	err = d.write.do(ctx, func(ctx context.Context) error {
		return d.write.storeSession(ctx, s.ID, b)
	})
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	return nil
}

// AppendSession records a changed session together with the events of the change, atomically: see Append.
func (d *DB) AppendSession(ctx context.Context, s record.Session, evs []record.Event) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	err = d.write.transact(ctx, s.ID, func(ctx context.Context, h *head) error {
		if err := d.write.storeSession(ctx, s.ID, b); err != nil {
			return err
		}
		return d.write.append(ctx, h, s.ID, evs)
	})
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	return nil
}

// storeSession writes the record of a session. The caller must hold the writer's turn.
func (w *writer) storeSession(ctx context.Context, id cellhold.SessionID, b []byte) error {
	res, err := w.putSession.ExecContext(ctx, id, b, recordSum(b, string(id)))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, cellhold.Errorf(cellhold.NotFound, "Session %s was deleted.", id))
	}
	return nil
}

// Sessions yields all sessions in the order of their creation. For a damaged record it yields the id and ErrDamaged, and
// continues. Any other error is the last item.
func (d *DB) Sessions(ctx context.Context) iter.Seq2[record.Session, error] {
	const query = `SELECT key, id, crc, record FROM sessions WHERE key > ? AND erased = 0 ORDER BY key LIMIT ?`
	return func(yield func(record.Session, error) bool) {
		var next int64
		pages(ctx, d.budget(ctx), yield, func() error { return nil }, func() (batch[record.Session], error) {
			return fill(ctx, d.read, query, []any{next, batchRows}, func(rows *sql.Rows) (it item[record.Session], n int, err error) {
				var id column[string]
				var sum column[int64]
				var b column[[]byte]
				if err := rows.Scan(&next, &id, &sum, &b); err != nil {
					return it, 0, err
				}
				it.value, err = decodeSession(cellhold.SessionID(nameOf(id.value, next)), sum.value, b.value)
				return it, len(b.value), err
			})
		})
	}
}

func decodeSession(id cellhold.SessionID, sum int64, b []byte) (record.Session, error) {
	var s record.Session
	if recordSum(b, string(id)) != sum || json.Unmarshal(b, &s) != nil {
		return record.Session{Session: cellhold.Session{ID: id}}, fmt.Errorf("session %s: %w", id, ErrDamaged)
	}
	if s.State == suspendedState {
		s.State = cellhold.SessionHibernated
	}
	return s, nil
}

// PutCell records a new or changed cell of a recorded session. A new cell comes after all other cells of its session.
func (d *DB) PutCell(ctx context.Context, c record.Cell) error {
	records, done, err := d.encodeCells(ctx, []record.Cell{c})
	if err != nil {
		return err
	}
	defer done()
	err = d.write.do(ctx, func(ctx context.Context) error {
		h, err := d.write.head(ctx, c.Session)
		if err != nil {
			return err
		}
		return d.write.storeCell(ctx, h, c.Session, c, records[0])
	})
	if err != nil {
		return fmt.Errorf("put cell %s: %w", c.ID, err)
	}
	return nil
}

// encodeCells returns the records of cells. The caller must call done after it has stored them. Large records are encoded
// and stored one at a time, because each of them takes memory several times.
func (d *DB) encodeCells(ctx context.Context, cells []record.Cell) (records [][]byte, done func(), err error) {
	size := int64(0)
	for _, c := range cells {
		size += outputs.Size(c.Outputs)
	}
	done = func() {}
	if size > large {
		select {
		case d.encoding <- struct{}{}:
			done = func() { <-d.encoding }
		case <-ctx.Done():
			return nil, done, ctx.Err()
		}
	}
	records = make([][]byte, len(cells))
	for i, c := range cells {
		if records[i], err = encodeCell(c); err != nil {
			done()
			return nil, done, fmt.Errorf("record of cell %s: %w", c.ID, err)
		}
	}
	return records, done, nil
}

// encodeCell returns the record of a cell.
func encodeCell(c record.Cell) ([]byte, error) {
	const others = 4 << 10 // space for the other members
	var b bytes.Buffer
	b.Grow(int(outputs.Size(c.Outputs)) + outputs.TextSize(c.Code) + others)
	err := outputs.WriteCell(&b, struct {
		record.Cell
		Outputs outputs.Slot `json:"outputs"`
	}{Cell: c}, c.Outputs)
	return b.Bytes(), err
}

// storeCell writes the record of a cell. The caller must hold the writer's turn.
func (w *writer) storeCell(ctx context.Context, h *head, id cellhold.SessionID, c record.Cell, b []byte) error {
	low, high := span(h.key)
	_, err := w.putCell.ExecContext(ctx, low, high, h.key, string(c.ID), recordSum(b, string(id), string(c.ID)), b, c.Key)
	return err
}

// Cell returns one cell. For a cell of another session it returns NotFound. For a damaged record it returns the ids and
// ErrDamaged.
func (d *DB) Cell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID) (found record.Cell, err error) {
	var damaged error
	err = d.UseCell(ctx, id, c, func(r record.Cell, err error) { found, damaged = r, err })
	return found, cmp.Or(err, damaged)
}

// UseCell passes one cell to use, or for a damaged record the ids and ErrDamaged. For a cell of another session it returns
// NotFound. A large cell takes a share of the memory for large records until use returns. use must not read other records.
func (d *DB) UseCell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID, use func(record.Cell, error)) error {
	var it item[record.Cell]
	var row int64
	var sum, size column[int64]
	var b column[[]byte]
	err := d.read.QueryRowContext(ctx, smallCell, id, c).Scan(&row, &sum, &size, &b)
	if errors.Is(err, sql.ErrNoRows) {
		return cellhold.Errorf(cellhold.NotFound, "Cell %s not found in session %s.", c, id)
	}
	if err != nil {
		return fmt.Errorf("cell %s: %w", c, outward(err))
	}
	if size.value > large {
		it.size, it.load = size.value, loader(d, "cells", row, id, c, decodeCell)
	} else {
		it.value, it.err = decodeCell(id, c, sum.value, b.value)
	}
	err = it.use(ctx, d.budget(ctx), use)
	if errors.Is(err, sql.ErrNoRows) {
		return errDeleted(id)
	}
	if err != nil {
		return fmt.Errorf("cell %s: %w", c, outward(err))
	}
	return nil
}

// smallCell selects a cell, and its record if it is not large.
var smallCell = fmt.Sprintf(`SELECT c.id, c.crc, length(c.record), CASE WHEN length(c.record) <= %d THEN c.record END
	FROM cells c JOIN sessions s ON s.key = c.session WHERE s.id = ? AND c.cell = ? AND s.erased = 0`, large)

// CellByKey returns the cell that was submitted with this key, or NotFound. For a damaged record it returns the ids and
// ErrDamaged, so that the caller does not run the code again.
func (d *DB) CellByKey(ctx context.Context, id cellhold.SessionID, key string) (record.Cell, error) {
	const query = `SELECT c.id, c.cell FROM cells c JOIN sessions s ON s.key = c.session WHERE s.id = ? AND c.key = ? AND s.erased = 0`
	var row int64
	var name column[string]
	err := d.read.QueryRowContext(ctx, query, id, key).Scan(&row, &name)
	if errors.Is(err, sql.ErrNoRows) {
		return record.Cell{}, cellhold.Errorf(cellhold.NotFound, "No cell of session %s has this idempotency key.", id)
	}
	if err != nil {
		return record.Cell{}, fmt.Errorf("find the cell of an idempotency key: %w", outward(err))
	}
	c := cellhold.CellID(nameOf(name.value, number(row)))
	if string(c) != name.value {
		return record.Cell{Cell: cellhold.Cell{ID: c, Session: id}}, fmt.Errorf("cell %s of session %s: %w", c, id, ErrDamaged)
	}
	return d.Cell(ctx, id, c)
}

// Cells yields the cells of a session in the order of their first records. For a damaged record it yields the id and
// ErrDamaged, and continues. Any other error is the last item. A large cell takes a share of the memory for large records,
// until the consumer continues. The consumer must not read other records in this time.
func (d *DB) Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Cell, error] {
	return records(ctx, d, id, "cells", "cell", decodeCell, nil)
}

// StoredCells is like Cells, but yields only the ids of a cell for which elsewhere returns true, and reads no record of it.
// It calls elsewhere directly before it yields the cell. Then the consumer can read other records.
func (d *DB) StoredCells(ctx context.Context, id cellhold.SessionID, elsewhere func(cellhold.CellID) bool) iter.Seq2[record.Cell, error] {
	return records(ctx, d, id, "cells", "cell", decodeCell, func(c cellhold.CellID) (record.Cell, bool) {
		return record.Cell{Cell: cellhold.Cell{ID: c, Session: id}}, elsewhere(c)
	})
}

// records yields the records of a session in a table. names is the column of their ids. elsewhere can be nil: see item.
func records[T any, ID ~string](ctx context.Context, d *DB, id cellhold.SessionID, table, names string,
	decode func(cellhold.SessionID, ID, int64, []byte) (T, error), elsewhere func(ID) (T, bool)) iter.Seq2[T, error] {
	query := fmt.Sprintf(`SELECT id, %s, crc, length(record), CASE WHEN length(record) <= %d THEN record END
		FROM %s WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, names, large, table)
	return func(yield func(T, error) bool) {
		key, err := d.key(ctx, id)
		if err != nil {
			var none T
			yield(none, fmt.Errorf("%s of session %s: %w", table, id, err))
			return
		}
		next, high := span(key)
		pages(ctx, d.budget(ctx), yield, d.deleted(ctx, id), func() (batch[T], error) {
			return fill(ctx, d.read, query, []any{next, high, batchRows}, func(rows *sql.Rows) (it item[T], n int, err error) {
				var name column[string]
				var sum, size column[int64]
				var b column[[]byte]
				if err := rows.Scan(&next, &name, &sum, &size, &b); err != nil {
					return it, 0, err
				}
				row, its := next, ID(nameOf(name.value, number(next)))
				if elsewhere != nil {
					it.elsewhere = func() (T, bool) { return elsewhere(its) }
				}
				if size.value > large {
					it.size, it.load = size.value, loader(d, table, row, id, its, decode)
					return it, int(size.value), nil
				}
				it.value, err = decode(id, its, sum.value, b.value)
				return it, len(b.value), err
			})
		})
	}
}

// loader returns the function that reads one record of a table: see item.
func loader[T any, ID ~string](d *DB, table string, row int64, id cellhold.SessionID, name ID,
	decode func(cellhold.SessionID, ID, int64, []byte) (T, error)) func(context.Context, int64) (T, int64, error) {
	query := `SELECT crc, length(record), CASE WHEN length(record) <= ? THEN record END FROM ` + table + ` WHERE id = ?`
	return func(ctx context.Context, most int64) (v T, n int64, err error) {
		var sum, size column[int64]
		var decoded error
		err = d.read.QueryRowContext(ctx, query, most, row).Scan(&sum, &size, blob(func(b []byte) {
			if size.value <= most { // scanned before
				v, decoded = decode(id, name, sum.value, b)
			}
		}))
		return v, size.value, errors.Join(err, decoded)
	}
}

func decodeCell(id cellhold.SessionID, c cellhold.CellID, sum int64, b []byte) (record.Cell, error) {
	var r record.Cell
	if recordSum(b, string(id), string(c)) != sum || json.Unmarshal(b, &r) != nil {
		return record.Cell{Cell: cellhold.Cell{ID: c, Session: id}}, fmt.Errorf("cell %s of session %s: %w", c, id, ErrDamaged)
	}
	return r, nil
}
