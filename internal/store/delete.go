package store

import (
	"cellhold"
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A deletion lets other writers write after each step. Each step ends at one of these limits, so that an append waits for
// milliseconds only.
const (
	eraseRows  = 256
	eraseBytes = 4 << 20
	// vacuumPages is the maximum number of pages given back to the file system in one step (1 MiB). It is also the number of
	// free pages that are kept, because the next writes need them.
	vacuumPages = 256
)

// DeleteSession deletes a session with its cells and events, and gives the space back to the file system. Readers stop
// seeing the session at once. After a crash or the end of ctx, the next Open or the next call completes the deletion.
// Deleting an unknown session is not an error.
func (d *DB) DeleteSession(ctx context.Context, id cellhold.SessionID) error {
	err := d.mark(ctx, id)
	if isFull(err) {
		// A deletion must write before it can free space. The reserve exists for this case.
		d.reserve.release()
		err = d.mark(ctx, id)
	}
	if err == nil {
		err = d.eraseMarked(ctx)
	}
	if err != nil {
		return fmt.Errorf("delete session %s: %w", id, err)
	}
	return nil
}

// mark hides a session and marks it for deletion.
func (d *DB) mark(ctx context.Context, id cellhold.SessionID) error {
	return d.write.do(ctx, func(ctx context.Context) error {
		delete(d.write.known, id)
		_, err := d.write.markSession.ExecContext(ctx, id)
		return err
	})
}

// eraseMarked erases all marked sessions.
func (d *DB) eraseMarked(ctx context.Context) error {
	for {
		var key int64
		err := d.read.QueryRowContext(ctx, `SELECT key FROM sessions WHERE erased = 1 LIMIT 1`).Scan(&key)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return outward(err)
		}
		err = d.erase(ctx, key)
		if isFull(err) && d.reserve.release() {
			err = d.erase(ctx, key)
		}
		if err != nil {
			return err
		}
	}
}

// erase deletes the rows of one session in steps, its own row last.
func (d *DB) erase(ctx context.Context, key int64) error {
	low, high := span(key)
	for _, table := range []struct{ name, size string }{{"events", "content"}, {"cells", "record"}, {"commands", "record"}} {
		for more := true; more; {
			err := d.write.do(ctx, func(ctx context.Context) error {
				until, err := stepEnd(ctx, d.write.conn, table.name, table.size, low, high)
				if more = until > 0; err != nil || !more {
					return err
				}
				_, err = d.write.conn.ExecContext(ctx, `DELETE FROM `+table.name+` WHERE id BETWEEN ? AND ?`, low, until)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	err := d.write.do(ctx, func(ctx context.Context) error {
		// Two statements without a transaction: after a crash between them, the session is still marked, and both run again.
		if _, err := d.write.conn.ExecContext(ctx, `DELETE FROM cursors WHERE session = ?`, key); err != nil {
			return err
		}
		_, err := d.write.conn.ExecContext(ctx, `DELETE FROM sessions WHERE key = ?`, key)
		return err
	})
	if err != nil {
		return err
	}
	return d.vacuum(ctx)
}

// stepEnd returns the last id of the next step, or 0 if no rows are left. SQLite reads a length without the content.
func stepEnd(ctx context.Context, conn *sql.Conn, table, column string, low, high int64) (until int64, err error) {
	rows, err := conn.QueryContext(ctx,
		`SELECT id, length(`+column+`) FROM `+table+` WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?`, low, high, eraseRows)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for total := int64(0); total < eraseBytes && rows.Next(); {
		var size int64
		if err := rows.Scan(&until, &size); err != nil {
			return 0, err
		}
		total += size
	}
	return until, rows.Err()
}

// vacuum gives free pages back to the file system in steps.
func (d *DB) vacuum(ctx context.Context) error {
	for more := true; more; {
		err := d.write.do(ctx, func(ctx context.Context) error {
			var free int64
			if err := d.write.conn.QueryRowContext(ctx, `PRAGMA freelist_count`).Scan(&free); err != nil {
				return err
			}
			if more = free > vacuumPages; !more {
				return nil
			}
			n := min(vacuumPages, free-vacuumPages)
			if _, err := d.write.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, n)); err != nil {
				return err
			}
			// SQLite truncates the file only when a checkpoint writes its log back.
			_, err := d.write.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := d.reserve.fill(); err != nil {
		d.log.Warn("cannot reserve disk space for deletions", "error", err)
	}
	return nil
}
