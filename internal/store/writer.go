package store

import (
	"cellhold"
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// errClosed is the error of writes after Close.
var errClosed = errors.New("store is closed")

// writer is the only connection that writes, because SQLite allows one writer at a time. Callers wait for the turn here:
// this wait ends with their context, but a wait in SQLite does not.
type writer struct {
	turn   chan struct{} // capacity 1: held during a write; guards the fields below
	closed bool
	db     *sql.DB
	conn   *sql.Conn
	known  map[cellhold.SessionID]*head // loaded at the first write, dropped on any error

	stmts                              []*sql.Stmt // all statements below
	begin, commit, rollback            *sql.Stmt
	putSession, markSession            *sql.Stmt
	findSession, findTail, findCursors *sql.Stmt
	addEvent, putCursor, putCell       *sql.Stmt
	putCommand                         *sql.Stmt
}

// head is the state of a session that an append needs. In memory, it makes three queries for each append unnecessary.
type head struct {
	key     int64
	tail    int64
	cursors map[agentRun]int64
}

// agentRun identifies one run of an agent, and a kernel. The agent numbers the events of a kernel within one run.
type agentRun struct {
	kernel cellhold.KernelID
	boot   string
}

func openWriter(ctx context.Context, path string) (*writer, error) {
	db, err := sql.Open("sqlite", source(path, false))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &writer{
		turn: make(chan struct{}, 1), db: db, conn: conn,
		known: make(map[cellhold.SessionID]*head),
	}, nil
}

// prepare prepares all statements once.
func (w *writer) prepare(ctx context.Context) (err error) {
	for _, s := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&w.begin, `BEGIN IMMEDIATE`},
		{&w.commit, `COMMIT`},
		{&w.rollback, `ROLLBACK`},
		{&w.putSession, `INSERT INTO sessions (id, record, crc) VALUES (?1, ?2, ?3)
			ON CONFLICT (id) DO UPDATE SET record = ?2, crc = ?3 WHERE erased = 0`},
		{&w.markSession, `UPDATE sessions SET erased = 1 WHERE id = ?`},
		{&w.findSession, `SELECT key FROM sessions WHERE id = ? AND erased = 0`},
		{&w.findTail, `SELECT coalesce(max(id), ?1) FROM events WHERE id BETWEEN ?1 AND ?2`},
		{&w.findCursors, `SELECT kernel, boot, source FROM cursors WHERE session = ?`},
		{&w.addEvent, `INSERT INTO events (id, time, kernel, cell, type, boot, source, crc, content)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&w.putCursor, `INSERT INTO cursors VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT DO UPDATE SET source = ?4`},
		{&w.putCell, `INSERT INTO cells (id, session, cell, crc, record, key)
			VALUES ((SELECT coalesce(max(id), ?1) + 1 FROM cells WHERE id BETWEEN ?1 AND ?2), ?3, ?4, ?5, ?6, nullif(?7, ''))
			ON CONFLICT (session, cell) DO UPDATE SET crc = ?5, record = ?6`},
		{&w.putCommand, `INSERT INTO commands (id, session, command, crc, record)
			VALUES ((SELECT coalesce(max(id), ?1) + 1 FROM commands WHERE id BETWEEN ?1 AND ?2), ?3, ?4, ?5, ?6)
			ON CONFLICT (session, command) DO UPDATE SET crc = ?5, record = ?6`},
	} {
		if *s.stmt, err = w.conn.PrepareContext(ctx, s.text); err != nil {
			return fmt.Errorf("prepare %q: %w", s.text, err)
		}
		w.stmts = append(w.stmts, *s.stmt)
	}
	return nil
}

// do waits for the writer's turn and runs f. The end of ctx ends only the wait. f gets a context that never ends, because
// a write must be complete. A statement with another context also costs a goroutine, which takes longer than the write.
func (w *writer) do(ctx context.Context, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.turn }()
	if w.closed {
		return errClosed
	}
	return outward(f(context.WithoutCancel(ctx)))
}

// transact runs f in a transaction.
func (w *writer) transact(ctx context.Context, id cellhold.SessionID, f func(context.Context, *head) error) error {
	return w.do(ctx, func(ctx context.Context) error {
		h, err := w.head(ctx, id)
		if err != nil {
			return err
		}
		if _, err := w.begin.ExecContext(ctx); err != nil {
			return err
		}
		if err = f(ctx, h); err == nil {
			_, err = w.commit.ExecContext(ctx)
		}
		if err != nil {
			delete(w.known, id) // f can have changed it
			// After some errors SQLite has rolled back already; then this rollback fails without effect.
			_, _ = w.rollback.ExecContext(ctx)
		}
		return err
	})
}

// head returns the state of a session, from memory or from disk. The caller must hold the turn.
func (w *writer) head(ctx context.Context, id cellhold.SessionID) (*head, error) {
	if h := w.known[id]; h != nil {
		return h, nil
	}
	h := &head{cursors: make(map[agentRun]int64)}
	err := w.findSession.QueryRowContext(ctx, id).Scan(&h.key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, cellhold.Errorf(cellhold.NotFound, "Session %s not found.", id)
	}
	if err != nil {
		return nil, err
	}
	low, high := span(h.key)
	if err := w.findTail.QueryRowContext(ctx, low, high).Scan(&h.tail); err != nil {
		return nil, err
	}
	h.tail = number(h.tail)
	rows, err := w.findCursors.QueryContext(ctx, h.key)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l agentRun
		var source int64
		if err := rows.Scan(&l.kernel, &l.boot, &source); err != nil {
			return nil, err
		}
		h.cursors[l] = source
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	w.known[id] = h
	return h, nil
}

func (w *writer) close() error {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if w.closed {
		return nil
	}
	w.closed = true
	var errs []error
	for _, s := range w.stmts { // an open statement would prevent SQLite from removing its files
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// maxNumber is the largest number of an event or cell within its session.
const maxNumber = 1<<32 - 1

// span returns the bounds of the ids of a session's rows. low itself is never used, because numbers start at 1.
func span(key int64) (low, high int64) { return key << 32, key<<32 | maxNumber }

// number returns the number within the session from an id.
func number(id int64) int64 { return id & maxNumber }
