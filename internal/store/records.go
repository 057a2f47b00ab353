package store

import (
	"cellhold"
	"cellhold/internal/record"
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
		pages(yield, func() (batch[record.Session], error) {
			return fill(ctx, d.read, query, []any{next, batchRows}, func(rows *sql.Rows) (record.Session, int, error) {
				var id cellhold.SessionID
				var sum int64
				var b []byte
				if err := rows.Scan(&next, &id, &sum, &b); err != nil {
					return record.Session{}, 0, err
				}
				s, err := decodeSession(id, sum, b)
				return s, len(b), err
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
	records, err := encodeCells([]record.Cell{c})
	if err != nil {
		return err
	}
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

// encodeCells returns the records of cells.
func encodeCells(cells []record.Cell) ([][]byte, error) {
	records := make([][]byte, len(cells))
	for i, c := range cells {
		var err error
		if records[i], err = json.Marshal(c); err != nil {
			return nil, fmt.Errorf("record of cell %s: %w", c.ID, err)
		}
	}
	return records, nil
}

// storeCell writes the record of a cell. The caller must hold the writer's turn.
func (w *writer) storeCell(ctx context.Context, h *head, id cellhold.SessionID, c record.Cell, b []byte) error {
	low, high := span(h.key)
	_, err := w.putCell.ExecContext(ctx, low, high, h.key, string(c.ID), recordSum(b, string(id), string(c.ID)), b, c.Key)
	return err
}

// Cell returns one cell. For a cell of another session it returns NotFound.
func (d *DB) Cell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID) (record.Cell, error) {
	const query = `SELECT c.crc, c.record FROM cells c JOIN sessions s ON s.key = c.session
		WHERE s.id = ? AND c.cell = ? AND s.erased = 0`
	var sum int64
	var b []byte
	err := d.read.QueryRowContext(ctx, query, id, c).Scan(&sum, &b)
	if errors.Is(err, sql.ErrNoRows) {
		return record.Cell{}, cellhold.Errorf(cellhold.NotFound, "Cell %s not found in session %s.", c, id)
	}
	if err != nil {
		return record.Cell{}, fmt.Errorf("cell %s: %w", c, outward(err))
	}
	return decodeCell(id, c, sum, b)
}

// CellByKey returns the cell that was submitted with this key, or NotFound.
func (d *DB) CellByKey(ctx context.Context, id cellhold.SessionID, key string) (record.Cell, error) {
	const query = `SELECT c.cell FROM cells c JOIN sessions s ON s.key = c.session WHERE s.id = ? AND c.key = ? AND s.erased = 0`
	var c cellhold.CellID
	err := d.read.QueryRowContext(ctx, query, id, key).Scan(&c)
	if errors.Is(err, sql.ErrNoRows) {
		return record.Cell{}, cellhold.Errorf(cellhold.NotFound, "No cell of session %s has this idempotency key.", id)
	}
	if err != nil {
		return record.Cell{}, fmt.Errorf("find the cell of an idempotency key: %w", outward(err))
	}
	return d.Cell(ctx, id, c)
}

// Cells yields the cells of a session in the order of their first records. For a damaged record it yields the id and
// ErrDamaged, and continues. Any other error is the last item.
func (d *DB) Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Cell, error] {
	const query = `SELECT id, cell, crc, record FROM cells WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`
	return records(ctx, d, id, query, "cells", decodeCell)
}

// records yields the records of a session that the query finds. Each row has a key, a name, a checksum and a record. Error
// texts use the value of the parameter "what" as the name of the records.
func records[T any, ID ~string](ctx context.Context, d *DB, id cellhold.SessionID, query, what string,
	decode func(cellhold.SessionID, ID, int64, []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		key, err := d.key(ctx, id)
		if err != nil {
			yield(none, fmt.Errorf("%s of session %s: %w", what, id, err))
			return
		}
		next, high := span(key)
		pages(yield, func() (batch[T], error) {
			return fill(ctx, d.read, query, []any{next, high, batchRows}, func(rows *sql.Rows) (T, int, error) {
				var name ID
				var sum int64
				var b []byte
				if err := rows.Scan(&next, &name, &sum, &b); err != nil {
					return none, 0, err
				}
				v, err := decode(id, name, sum, b)
				return v, len(b), err
			})
		})
	}
}

func decodeCell(id cellhold.SessionID, c cellhold.CellID, sum int64, b []byte) (record.Cell, error) {
	var r record.Cell
	if recordSum(b, string(id), string(c)) != sum || json.Unmarshal(b, &r) != nil {
		return record.Cell{Cell: cellhold.Cell{ID: c, Session: id}}, fmt.Errorf("cell %s of session %s: %w", c, id, ErrDamaged)
	}
	return r, nil
}
