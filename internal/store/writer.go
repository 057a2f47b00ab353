package store

import (
	"cellhold"
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// errClosed is what writes get after Close.
var errClosed = errors.New("store is closed")

// writer is the one connection that writes. SQLite allows one writer at a time anyway; queueing
// here, where waiting ends with the caller's context, beats retrying there.
type writer struct {
	turn   chan struct{} // holds one token while someone writes; guards all below
	closed bool
	db     *sql.DB
	conn   *sql.Conn
	known  map[cellhold.SessionID]*head // loaded when first written to, dropped on any error

	stmts                              []*sql.Stmt // all of the following
	begin, commit, rollback            *sql.Stmt
	putSession, markSession            *sql.Stmt
	findSession, findTail, findCursors *sql.Stmt
	addEvent, putCursor, putCell       *sql.Stmt
	putCommand                         *sql.Stmt
}

// head is what must be known of a session to append to it. Keeping it in memory saves three
// queries for each append.
type head struct {
	key     int64
	tail    int64
	cursors map[life]int64
}

// life is one life of an agent, seen from one kernel: what source numbers count within.
type life struct {
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

// prepare parses all statements once.
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

// do waits for its turn and runs f. Only the waiting ends with ctx: f gets a context without end,
// because a write takes less than the goroutine per statement that could cut it short, and is
// wanted whole or not at all.
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

// transact runs f in a transaction, which is all or nothing.
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
			delete(w.known, id) // f may have moved it on
			// SQLite has rolled back by itself after some errors; then this one says only that.
			_, _ = w.rollback.ExecContext(ctx)
		}
		return err
	})
}

// head returns what is known of a session, from memory or from disk. The caller has the turn.
func (w *writer) head(ctx context.Context, id cellhold.SessionID) (*head, error) {
	if h := w.known[id]; h != nil {
		return h, nil
	}
	h := &head{cursors: make(map[life]int64)}
	err := w.findSession.QueryRowContext(ctx, id).Scan(&h.key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, cellhold.Errorf(cellhold.NotFound, "There is no session %s.", id)
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
		var l life
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
	for _, s := range w.stmts { // an open one would keep SQLite from tidying up
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// maxNumber is the largest number of an event or cell within its session.
const maxNumber = 1<<32 - 1

// span returns the ids that the rows of a session lie between: the first is never used, because
// numbers start at 1.
func span(key int64) (low, high int64) { return key << 32, key<<32 | maxNumber }

// number returns the number within the session from an id.
func number(id int64) int64 { return id & maxNumber }
