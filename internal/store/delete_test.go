package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fillSession appends n events of the given size.
func fillSession(t testing.TB, d *DB, id cellhold.SessionID, n int, size int) {
	t.Helper()
	text := strings.Repeat("x", size)
	for seq := int64(1); seq <= int64(n); seq++ {
		must(t, d.Append(t.Context(), id, []record.Event{stream(seq, text)}))
	}
}

func sessions(t testing.TB, d *DB) (ids []cellhold.SessionID) {
	t.Helper()
	for s, err := range d.Sessions(t.Context()) {
		must(t, err)
		ids = append(ids, s.ID)
	}
	return ids
}

func TestADeletedSessionHasNoRecordsAndNoSpaceInTheFile(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	ctx, gone, stays := t.Context(), put(t, d), put(t, d)
	c := newCell(gone, strings.Repeat("x", 1<<20))
	must(t, d.PutCell(ctx, c))
	fillSession(t, d, gone, 400, 100_000)
	fillSession(t, d, stays, 10, 100)
	before := fileSize(t, dir)
	must(t, d.DeleteSession(ctx, gone))
	must(t, d.DeleteSession(ctx, gone))
	after := fileSize(t, dir)
	t.Logf("the file had %d KiB and has %d KiB", before>>10, after>>10)
	if before < 30<<20 || after > 3<<20 {
		t.Errorf("got %d bytes before and %d after, want more than 30 MiB and less than 3 MiB", before, after)
	}
	if got := sessions(t, d); len(got) != 1 || got[0] != stays {
		t.Errorf("got sessions %v, want %v", got, stays)
	}
	if evs := read(t, d, gone, 0); len(evs) != 0 {
		t.Errorf("got %d events of a deleted session, want 0", len(evs))
	}
	if _, err := d.Cell(ctx, gone, c.ID); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("got %v for a cell of a deleted session, want kind not_found", err)
	}
	if got := len(read(t, d, stays, 0)); got != 10 {
		t.Errorf("got %d events of the other session, want 10", got)
	}
}

// fileSize returns the size of the database file, without the log. The log has a limit of its own.
func fileSize(t testing.TB, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, fileName))
	must(t, err)
	return info.Size()
}

func TestASessionInDeletionAcceptsNoRecords(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, s := t.Context(), newSession()
	must(t, d.PutSession(ctx, s))
	must(t, d.mark(ctx, s.ID)) // a deletion in progress
	if err := d.PutSession(ctx, s); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("PutSession: got %v, want kind not_found", err)
	}
	if err := d.Append(ctx, s.ID, []record.Event{stream(1, "late")}); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("Append: got %v, want kind not_found", err)
	}
	if got := sessions(t, d); len(got) != 0 {
		t.Errorf("got sessions %v, want 0", got)
	}
}

func TestAnIncompleteDeletionIsCompletedAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	id := put(t, d)
	fillSession(t, d, id, 3*eraseRows, 10)
	must(t, d.mark(t.Context(), id))
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.eraseMarked(cut); err == nil {
		t.Fatal("got no error from a deletion with a cancelled context")
	}
	must(t, d.Close())
	d = open(t, dir)
	for _, table := range []string{"sessions", "events", "cursors"} {
		var n int
		must(t, d.read.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n))
		if n != 0 {
			t.Errorf("got %d rows in %s, want 0", n, table)
		}
	}
}

func TestAReadThatADeletionCutsEndsWithAnError(t *testing.T) {
	for name, test := range map[string]struct {
		fill func(t *testing.T, d *DB, id cellhold.SessionID)
		read func(d *DB, id cellhold.SessionID) iter.Seq[error]
	}{
		"many events": {
			func(t *testing.T, d *DB, id cellhold.SessionID) { fillSession(t, d, id, 2*batchRows, 1) },
			func(d *DB, id cellhold.SessionID) iter.Seq[error] { return errorsOf(d.Read(t.Context(), id, 0)) },
		},
		"large cells": {
			func(t *testing.T, d *DB, id cellhold.SessionID) {
				must(t, d.PutCell(t.Context(), page(id, 2*large)))
				must(t, d.PutCell(t.Context(), page(id, 2*large)))
			},
			func(d *DB, id cellhold.SessionID) iter.Seq[error] { return errorsOf(d.Cells(t.Context(), id)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, t.TempDir())
			id := put(t, d)
			test.fill(t, d, id)
			n, last := 0, error(nil)
			for err := range test.read(d, id) {
				if n++; n == 1 {
					must(t, d.DeleteSession(t.Context(), id))
				}
				last = err
			}
			if cellhold.KindOf(last) != cellhold.NotFound {
				t.Errorf("after %d items, the last error is %v, want NotFound", n, last)
			}
		})
	}
}

// errorsOf yields the errors of a read.
func errorsOf[T any](items iter.Seq2[T, error]) iter.Seq[error] {
	return func(yield func(error) bool) {
		for _, err := range items {
			if !yield(err) {
				return
			}
		}
	}
}
