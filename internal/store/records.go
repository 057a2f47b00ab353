package store

import (
	"cellhold"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Older records contain these words for a hibernated session. They are translated when they are read.
const (
	suspendedState cellhold.SessionState = "suspended"
	suspendedEvent cellhold.EventType    = "session_suspended"
)

// sessionRecord is the stored form of a session, including the fields that callers of the API do not see.
type sessionRecord struct {
	cellhold.Session
	Owner   string `json:"owner,omitempty"`
	Sandbox string `json:"sandbox,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Article bool   `json:"article,omitempty"`
	Vault   []byte `json:"vault,omitempty"` // contains secrets; the database has the mode 0600

	Snapshot    string             `json:"snapshot,omitempty"`
	Boot        string             `json:"boot,omitempty"`
	Checkpoints []checkpointRecord `json:"checkpoints,omitempty"`
	Undone      []cellhold.Undone  `json:"undone,omitempty"`
}

// checkpointRecord is the stored form of a checkpoint.
type checkpointRecord struct {
	cellhold.Checkpoint
	Snapshot string             `json:"snapshot"`
	Kernels  []cellhold.Kernel  `json:"kernels"`
	Packages []cellhold.Package `json:"packages,omitempty"`
	Undone   []cellhold.Undone  `json:"undone,omitempty"`
}

// encodeSession returns the record of a session.
func encodeSession(s cellhold.Session) ([]byte, error) {
	r := sessionRecord{Session: s, Owner: s.Owner, Sandbox: s.Sandbox, Digest: s.Digest, Article: s.Article, Vault: s.Vault,
		Snapshot: s.Snapshot, Boot: s.Boot, Undone: s.Undone}
	for _, c := range s.Checkpoints {
		r.Checkpoints = append(r.Checkpoints, checkpointRecord{c, c.Snapshot, c.Kernels, c.Packages, c.Undone})
	}
	return json.Marshal(r)
}

// cellRecord is the stored form of a cell.
type cellRecord struct {
	cellhold.Cell
	Timeout time.Duration `json:"timeout,omitempty"`
	Key     string        `json:"key,omitempty"`
	Digest  string        `json:"digest,omitempty"`
}

// PutSession records a new or changed session. A deleted session stays deleted.
func (d *DB) PutSession(ctx context.Context, s cellhold.Session) error {
	record, err := encodeSession(s)
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	err = d.write.do(ctx, func(ctx context.Context) error {
		return d.write.storeSession(ctx, s.ID, record)
	})
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	return nil
}

// AppendSession records a changed session together with the events of the change, atomically: see Append.
func (d *DB) AppendSession(ctx context.Context, s cellhold.Session, evs []cellhold.Event) error {
	record, err := encodeSession(s)
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	err = d.write.transact(ctx, s.ID, func(ctx context.Context, h *head) error {
		if err := d.write.storeSession(ctx, s.ID, record); err != nil {
			return err
		}
		return d.write.append(ctx, h, s.ID, evs)
	})
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.ID, err)
	}
	return nil
}

// storeSession writes the record of a session. The caller must hold the turn.
func (w *writer) storeSession(ctx context.Context, id cellhold.SessionID, record []byte) error {
	res, err := w.putSession.ExecContext(ctx, id, record, recordSum(record, string(id)))
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
func (d *DB) Sessions(ctx context.Context) iter.Seq2[cellhold.Session, error] {
	const query = `SELECT key, id, crc, record FROM sessions WHERE key > ? AND erased = 0 ORDER BY key LIMIT ?`
	return func(yield func(cellhold.Session, error) bool) {
		var next int64
		pages(yield, func() (batch[cellhold.Session], error) {
			return fill(ctx, d.read, query, []any{next, batchRows}, func(rows *sql.Rows) (cellhold.Session, int, error) {
				var id cellhold.SessionID
				var sum int64
				var record []byte
				if err := rows.Scan(&next, &id, &sum, &record); err != nil {
					return cellhold.Session{}, 0, err
				}
				s, err := decodeSession(id, sum, record)
				return s, len(record), err
			})
		})
	}
}

func decodeSession(id cellhold.SessionID, sum int64, record []byte) (cellhold.Session, error) {
	var r sessionRecord
	if recordSum(record, string(id)) != sum || json.Unmarshal(record, &r) != nil {
		return cellhold.Session{ID: id}, fmt.Errorf("session %s: %w", id, ErrDamaged)
	}
	s := r.Session
	if s.State == suspendedState {
		s.State = cellhold.SessionHibernated
	}
	s.Owner, s.Sandbox, s.Digest, s.Article, s.Vault = r.Owner, r.Sandbox, r.Digest, r.Article, r.Vault
	s.Snapshot, s.Boot, s.Undone = r.Snapshot, r.Boot, r.Undone
	for _, x := range r.Checkpoints {
		c := x.Checkpoint
		c.Snapshot, c.Kernels, c.Packages, c.Undone = x.Snapshot, x.Kernels, x.Packages, x.Undone
		s.Checkpoints = append(s.Checkpoints, c)
	}
	return s, nil
}

// PutCell records a new or changed cell of a recorded session. A new cell comes after all other cells of its session.
func (d *DB) PutCell(ctx context.Context, c cellhold.Cell) error {
	records, err := encodeCells([]cellhold.Cell{c})
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
func encodeCells(cells []cellhold.Cell) ([][]byte, error) {
	records := make([][]byte, len(cells))
	for i, c := range cells {
		var err error
		if records[i], err = json.Marshal(cellRecord{c, c.Timeout, c.Key, c.Digest}); err != nil {
			return nil, fmt.Errorf("record of cell %s: %w", c.ID, err)
		}
	}
	return records, nil
}

// storeCell writes the record of a cell. The caller must hold the turn.
func (w *writer) storeCell(ctx context.Context, h *head, id cellhold.SessionID, c cellhold.Cell, record []byte) error {
	low, high := span(h.key)
	_, err := w.putCell.ExecContext(ctx, low, high, h.key, string(c.ID), recordSum(record, string(id), string(c.ID)), record, c.Key)
	return err
}

// Cell returns one cell. For a cell of another session it returns NotFound.
func (d *DB) Cell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID) (cellhold.Cell, error) {
	const query = `SELECT c.crc, c.record FROM cells c JOIN sessions s ON s.key = c.session
		WHERE s.id = ? AND c.cell = ? AND s.erased = 0`
	var sum int64
	var record []byte
	err := d.read.QueryRowContext(ctx, query, id, c).Scan(&sum, &record)
	if errors.Is(err, sql.ErrNoRows) {
		return cellhold.Cell{}, cellhold.Errorf(cellhold.NotFound, "Cell %s not found in session %s.", c, id)
	}
	if err != nil {
		return cellhold.Cell{}, fmt.Errorf("cell %s: %w", c, outward(err))
	}
	return decodeCell(id, c, sum, record)
}

// CellByKey returns the cell that was submitted with this key, or NotFound.
func (d *DB) CellByKey(ctx context.Context, id cellhold.SessionID, key string) (cellhold.Cell, error) {
	const query = `SELECT c.cell FROM cells c JOIN sessions s ON s.key = c.session WHERE s.id = ? AND c.key = ? AND s.erased = 0`
	var c cellhold.CellID
	err := d.read.QueryRowContext(ctx, query, id, key).Scan(&c)
	if errors.Is(err, sql.ErrNoRows) {
		return cellhold.Cell{}, cellhold.Errorf(cellhold.NotFound, "Session %s has no cell with this key.", id)
	}
	if err != nil {
		return cellhold.Cell{}, fmt.Errorf("cell of a key: %w", outward(err))
	}
	return d.Cell(ctx, id, c)
}

// Cells yields the cells of a session in the order of their first records. For a damaged record it yields the id and
// ErrDamaged, and continues. Any other error is the last item.
func (d *DB) Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[cellhold.Cell, error] {
	const query = `SELECT id, cell, crc, record FROM cells WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`
	return records(ctx, d, id, query, "cells", decodeCell)
}

// records yields the records of a session that the query finds: rows with a key, a name, a checksum and a record. what is
// their name in errors.
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
				var record []byte
				if err := rows.Scan(&next, &name, &sum, &record); err != nil {
					return none, 0, err
				}
				v, err := decode(id, name, sum, record)
				return v, len(record), err
			})
		})
	}
}

func decodeCell(id cellhold.SessionID, c cellhold.CellID, sum int64, record []byte) (cellhold.Cell, error) {
	var r cellRecord
	if recordSum(record, string(id), string(c)) != sum || json.Unmarshal(record, &r) != nil {
		return cellhold.Cell{ID: c, Session: id}, fmt.Errorf("cell %s of session %s: %w", c, id, ErrDamaged)
	}
	r.Cell.Timeout, r.Cell.Key, r.Cell.Digest = r.Timeout, r.Key, r.Digest
	return r.Cell, nil
}
