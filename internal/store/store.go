// Package store keeps sessions, cells and events on disk, in one SQLite database per server.
//
// It refuses to interpret what it keeps: events are bytes to it, ids are names, and whoever calls
// decides what a record means. It promises that what it has acknowledged survives the death of the
// server (not a power cut: see the note on synchronous in sqlite.go), that a damaged record is
// reported and never returned, and that no reader holds up a writer.
//
// There is one lock, the writer's turn (writer.go). Readers need none.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// File names in Options.Dir. SQLite puts its -wal and -shm files beside the first.
const (
	fileName    = "cellhold.db"
	lockName    = "cellhold.lock"
	reserveName = "cellhold.reserve"
)

// Options says where the store is.
type Options struct {
	Dir    string       // the directory of the database; made if missing; empty is refused
	Logger *slog.Logger // nil means silence
}

// DB is an open store. All methods may be called from any goroutine.
type DB struct {
	log     *slog.Logger
	lock    *os.File
	reserve reserve
	write   *writer
	read    *sql.DB
}

// Open opens the store in o.Dir, makes it if there is none, and brings its schema up to date. Only
// one server may have it open; a second one is told so.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Dir == "" {
		return nil, errors.New("store: Options.Dir is empty")
	}
	d := &DB{log: o.Logger}
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
	path := filepath.Join(dir, fileName)
	if err := private(path); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := d.connect(ctx, path); err != nil {
		return err
	}
	d.reserve = reserve(filepath.Join(dir, reserveName))
	if err := d.reserve.fill(); err != nil {
		d.log.Warn("no disk space could be set aside for deletions", "error", err)
	}
	if err := d.eraseMarked(ctx); err != nil {
		d.log.Warn("a deleted session could not be erased", "error", err)
	}
	return nil
}

// connect opens the database, checks it and prepares both sides of it.
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

// private makes sure that the database file is there and ours alone, before SQLite makes it with
// the process's umask. SQLite gives the files beside it the same mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chmod(0o600)
}

// Close waits for the write under way and closes the store. Reads under way end with an error. It
// may be called twice.
func (d *DB) Close() error {
	var errs []error
	if d.read != nil {
		errs = append(errs, d.read.Close())
	}
	if d.write != nil {
		errs = append(errs, d.write.close())
	}
	if d.lock != nil { // last: as long as we hold it, no other server opens the database
		if err := d.lock.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
