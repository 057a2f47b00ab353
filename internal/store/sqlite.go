package store

import (
	"cellhold"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// readers is the number of concurrent reads. With several, a slow read does not block the others. Each connection has
	// its own cache, so the number is small.
	readers = 4
	// busyTimeout is how long a statement waits for another process, such as the sqlite3 shell of an operator. The server
	// itself has one writer, so it never waits for its own locks.
	busyTimeout = 5 * time.Second
	// checkLimit is the size of the largest file that is checked completely at start, which takes a fraction of a second.
	// Damage in larger files is found when it is read.
	checkLimit = 64 << 20
)

// source returns the data source name of the database.
//
// synchronous=NORMAL: after a commit the data is in the file system's cache, which survives a crash of the server. Only
// SQLite's checkpoints sync the disk. After a power failure the newest commits can be missing, but then all sandboxes are
// lost too.
func source(path string, readOnly bool) string {
	q := url.Values{
		"_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"NORMAL"},
		"_foreign_keys": {"on"},
		"_auto_vacuum":  {"incremental"},
		"_pragma":       {"cache_size(-2048)", "journal_size_limit(16777216)", "cell_size_check(on)", "trusted_schema(off)"},
	}
	if readOnly {
		q.Set("_query_only", "on")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func openReaders(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", source(path, true))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, nil
}

// check runs SQLite's check of the file, unless the file is too large for a check at every start.
func check(ctx context.Context, conn *sql.Conn, path string) error {
	if info, err := os.Stat(path); err != nil || info.Size() > checkLimit {
		return err
	}
	var verdict string
	if err := conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return damaged{verdict}
	}
	return nil
}

// damaged is the result of a failed check by SQLite.
type damaged struct{ verdict string }

func (d damaged) Error() string { return d.verdict }

// refused converts an error at start to one sentence about the file.
func refused(path string, err error) error {
	_, verdict := errors.AsType[damaged](err)
	if verdict || isCode(err, sqlite3.SQLITE_CORRUPT) || isCode(err, sqlite3.SQLITE_NOTADB) {
		return cellhold.Wrap(cellhold.Internal, err,
			"The database %s is damaged. Restore a backup. To start without its sessions, move it away together with its -wal and -shm files.", path)
	}
	return fmt.Errorf("store: open %s: %w", path, outward(err))
}

// outward converts an error of SQLite to one that callers can handle.
func outward(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return cellhold.Wrap(cellhold.Unavailable, err, "The server's disk is full, so nothing was recorded. Free space on it.")
	case isCode(err, sqlite3.SQLITE_CORRUPT), isCode(err, sqlite3.SQLITE_NOTADB):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// isFull reports whether err says that the disk is full. SQLite has an error of its own for the file -shm.
func isFull(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return isCode(err, sqlite3.SQLITE_FULL) || ok && e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE
}

// isCode reports whether err is an SQLite error with this primary code.
func isCode(err error, code int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == code
}
