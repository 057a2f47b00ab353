// Package store keeps sessions, cells, commands and events on disk, in one SQLite database for each server.
//
// It does not interpret its records: events are bytes, ids are names, and the caller decides the meaning of a record.
// Acknowledged writes survive a crash of the server, but not a power failure: see the note on synchronous in sqlite.go. A
// damaged record is reported and never returned. Readers never block a writer.
//
// The only lock is the writer's turn (writer.go). Readers need none. A large record waits for a share of the memory for
// large records (batch.go), or for its turn to be encoded (records.go), before it waits for the writer's turn.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"cellhold/internal/memory"
)

// File names in Options.Dir. SQLite adds the suffixes -wal and -shm to the first one for its own files.
const (
	fileName    = "cellhold.db"
	lockName    = "cellhold.lock"
	reserveName = "cellhold.reserve"
)

// Options configures a DB.
type Options struct {
	Dir    string       // the directory of the database; required; created if missing
	Logger *slog.Logger // nil: no log
}

// DB is an open store. All methods can be called from any goroutine.
type DB struct {
	log     *slog.Logger
	lock    *os.File
	reserve reserve
	write   *writer
	read    *sql.DB
	// requests and server are the budgets for large records that are read at the same time: see budget.
	requests, server *memory.Budget
	// encoding has capacity 1. It is held while a large record is encoded and stored.
	encoding chan struct{}
}

// Open opens the store in o.Dir. It creates the store if there is none, and updates its schema. If another server has the
// store open, the error is a Conflict.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Dir == "" {
		return nil, errors.New("store: Options.Dir is empty")
	}
	d := &DB{log: o.Logger, requests: memory.New(requestBudget), server: memory.New(serverBudget), encoding: make(chan struct{}, 1)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if err := d.open(ctx, o.Dir); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *DB) open(ctx context.Context, dir string) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if d.lock, err = lock(filepath.Join(dir, lockName)); err != nil {
		return err
	}
	d.reserve = reserve(filepath.Join(dir, reserveName))
	if d.reserve.releaseToOpen() {
		d.log.Warn("the disk is full; the server starts with its reserve of disk space; delete sessions or other files", "home", dir)
	}
	if err := sign(d.lock); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	path := filepath.Join(dir, fileName)
	if err := private(path); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := d.connect(ctx, path); err != nil {
		return err
	}
	if err := d.reserve.fill(); err != nil {
		d.log.Warn("cannot reserve disk space for deletions", "error", err)
	}
	if err := d.eraseMarked(ctx); err != nil {
		d.log.Warn("cannot complete the deletion of a session", "error", err)
	}
	return nil
}

// connect opens the database, checks it, and prepares the writer and the readers.
func (d *DB) connect(ctx context.Context, path string) error {
	w, err := openWriter(ctx, path)
	if err != nil {
		return refused(path, err)
	}
	d.write = w
	if err := check(ctx, w.conn, path); err != nil {
		return refused(path, err)
	}
	if err := migrate(ctx, w.conn); err != nil {
		return refused(path, err)
	}
	if err := w.prepare(ctx); err != nil {
		return refused(path, err)
	}
	if d.read, err = openReaders(path); err != nil {
		return refused(path, err)
	}
	return nil
}

// private creates the database file with the mode 0600, before SQLite would create it with the umask of the process. SQLite
// gives its other files the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chmod(0o600)
}

// Close waits for the running write and closes the store. Running reads end with an error. Close can be called twice.
func (d *DB) Close() error {
	var errs []error
	if d.read != nil {
		errs = append(errs, d.read.Close())
	}
	if d.write != nil {
		errs = append(errs, d.write.close())
	}
	if d.lock != nil { // last: until then no other server opens the database
		if err := d.lock.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
