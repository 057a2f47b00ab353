package store

import (
	"bytes"
	"cellhold"
	"cellhold/internal/record"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestADamagedSessionIsReportedAndOtherSessionsAreRead(t *testing.T) {
	d := open(t, t.TempDir())
	ctx := t.Context()
	a, b, c := put(t, d), put(t, d), put(t, d)
	_, err := d.write.conn.ExecContext(ctx, `UPDATE sessions SET record = replace(record, 'ready', 'ended') WHERE id = ?`, b)
	must(t, err)
	var sound, broken []cellhold.SessionID
	for s, err := range d.Sessions(ctx) {
		if err == nil {
			sound = append(sound, s.ID)
		} else if errors.Is(err, ErrDamaged) && s.State == "" {
			broken = append(broken, s.ID)
		}
	}
	if diff := cmp.Diff([][]cellhold.SessionID{sound, broken}, [][]cellhold.SessionID{{a, c}, {b}}); diff != "" {
		t.Errorf("sound and damaged sessions differ (-got +want):\n%s", diff)
	}
}

func TestDamagedEventsAndCellsAreReportedAndOthersAreRead(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, id := t.Context(), put(t, d)
	must(t, d.Append(ctx, id, []record.Event{stream(1, "a"), stream(2, "b"), stream(3, "c")}))
	one, two := newCell(id, "1"), newCell(id, "2")
	must(t, d.PutCell(ctx, one))
	must(t, d.PutCell(ctx, two))
	for _, q := range []string{
		`UPDATE events SET time = time + 1 WHERE id & 0xffffffff = 2`,
		`UPDATE cells SET record = (SELECT record FROM cells WHERE id & 0xffffffff = 2) WHERE id & 0xffffffff = 1`,
	} {
		_, err := d.write.conn.ExecContext(ctx, q)
		must(t, err)
	}
	var got []string
	for e, err := range d.Read(ctx, id, 0) {
		got = append(got, string('0'+rune(e.Seq))+mark(err))
	}
	for c, err := range d.Cells(ctx, id) {
		got = append(got, c.Code+mark(err))
	}
	if want := "1 2! 3 ! 2"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := d.Cell(ctx, id, one.ID); !errors.Is(err, ErrDamaged) {
		t.Errorf("read a damaged cell: got %v, want ErrDamaged", err)
	}
}

// spoils are the ways in which the tests damage a value.
var spoils = map[string]func([]byte) []byte{
	"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"a short value": func(b []byte) []byte { return b[:len(b)/2] },
	"zeros":         func(b []byte) []byte { clear(b); return b },
	"no value":      func([]byte) []byte { return []byte{} },
}

// TestEachKindOfRecordIsReportedInItsPlace damages the second of three records, in each column.
func TestEachKindOfRecordIsReportedInItsPlace(t *testing.T) {
	columns := map[string][]string{
		"sessions": {"record", "crc", "id"},
		"cells":    {"record", "crc", "cell"},
		"commands": {"record", "crc", "command"},
		"events":   {"content", "crc", "time", "kernel", "cell", "type", "boot", "source"},
	}
	d := open(t, t.TempDir())
	ids := threeOfEachKind(t, d)
	for table, names := range columns {
		for _, column := range names {
			for how, spoil := range spoils {
				t.Run(table+"."+column+" with "+how, func(t *testing.T) {
					restore := spoilValue(t, d, table, column, spoil)
					defer restore()
					got := survivors(t, d, ids)
					for kind, want := range map[string]string{"sessions": "ok ok ok", "cells": "ok ok ok", "commands": "ok ok ok", "events": "ok ok ok"} {
						if kind == table {
							want = "ok damaged ok"
						}
						if got[kind] != want {
							t.Errorf("%s: got %q, want %q", kind, got[kind], want)
						}
					}
				})
			}
		}
	}
}

// threeOfEachKind records three sessions. The first one has three events, cells and commands.
func threeOfEachKind(t *testing.T, d *DB) []cellhold.SessionID {
	t.Helper()
	ids := []cellhold.SessionID{put(t, d), put(t, d), put(t, d)}
	for i := range 3 {
		ev := stream(int64(i+1), "text")
		ev.Kernel, ev.Cell, ev.Boot, ev.Source = "python3", "cabc", "boot", int64(i+1)
		must(t, d.Append(t.Context(), ids[0], []record.Event{ev}))
		must(t, d.PutCell(t.Context(), newCell(ids[0], "code")))
		must(t, d.AppendCommands(t.Context(), ids[0], nil, record.Command{Command: cellhold.Command{ID: cellhold.NewCommandID(), Session: ids[0], Line: "ls"}}))
	}
	return ids
}

// spoilValue damages one column of the second row of a table. The returned function repairs it.
func spoilValue(t *testing.T, d *DB, table, column string, spoil func([]byte) []byte) (restore func()) {
	t.Helper()
	ctx := t.Context()
	var row int64
	var value []byte
	var whole any
	must(t, d.write.conn.QueryRowContext(ctx, `SELECT rowid, `+column+`, CAST(`+column+` AS BLOB) FROM `+table+
		` ORDER BY rowid LIMIT 1 OFFSET 1`).Scan(&row, &whole, &value))
	write := func(v any) {
		_, err := d.write.conn.ExecContext(ctx, `UPDATE `+table+` SET `+column+` = ? WHERE rowid = ?`, v, row)
		must(t, err)
	}
	write(spoil(value))
	return func() { write(whole) }
}

// survivors returns the state of all records, by kind.
func survivors(t *testing.T, d *DB, ids []cellhold.SessionID) map[string]string {
	t.Helper()
	got := map[string][]string{}
	note := func(kind, id string, err error) {
		switch {
		case err == nil:
			got[kind] = append(got[kind], "ok")
		case errors.Is(err, ErrDamaged) && id != "":
			got[kind] = append(got[kind], "damaged")
		default:
			got[kind] = append(got[kind], err.Error())
		}
	}
	for s, err := range d.Sessions(t.Context()) {
		note("sessions", string(s.ID), err)
	}
	for c, err := range d.Cells(t.Context(), ids[0]) {
		note("cells", string(c.ID), err)
	}
	for c, err := range d.Commands(t.Context(), ids[0]) {
		note("commands", string(c.ID), err)
	}
	for e, err := range d.Read(t.Context(), ids[0], 0) {
		note("events", strings.Repeat("x", int(e.Seq)), err)
	}
	texts := map[string]string{}
	for kind, list := range got {
		texts[kind] = strings.Join(list, " ")
	}
	return texts
}

func TestADamagedNameBecomesOneThatCanBeShown(t *testing.T) {
	d := open(t, t.TempDir())
	ids := threeOfEachKind(t, d)
	spoilValue(t, d, "cells", "cell", func(b []byte) []byte { b[3] ^= 0x80; return b })
	seen := map[cellhold.CellID]bool{}
	for c := range d.Cells(t.Context(), ids[0]) {
		seen[c.ID] = true
	}
	if !seen["unreadable2"] || len(seen) != 3 {
		t.Errorf("got the cells %v, want unreadable2 and two others", seen)
	}
}

func TestTheKeyOfADamagedCellIsStillTaken(t *testing.T) {
	for _, column := range []string{"record", "cell", "crc"} {
		for how, spoil := range spoils {
			d := open(t, t.TempDir())
			id := put(t, d)
			must(t, d.PutCell(t.Context(), newCell(id, "other")))
			c := newCell(id, "code")
			c.Key = "key"
			must(t, d.PutCell(t.Context(), c))
			spoilValue(t, d, "cells", column, spoil)
			if _, err := d.CellByKey(t.Context(), id, "key"); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s of the %s: got %v, want ErrDamaged", how, column, err)
			}
		}
	}
}

func TestACopyLacksOnlyTheDamagedRecords(t *testing.T) {
	d := open(t, t.TempDir())
	ids := threeOfEachKind(t, d)
	for table, column := range map[string]string{"cells": "record", "commands": "record", "events": "content"} {
		spoilValue(t, d, table, column, spoils["a flipped bit"])
	}
	must(t, d.Copy(t.Context(), ids[0], ids[2], 3, time.Now()))
	got := survivors(t, d, []cellhold.SessionID{ids[2]})
	if got["events"] != "ok ok ok" || got["cells"] != "ok ok" || got["commands"] != "ok ok" {
		t.Errorf("got %v, want three events, two cells and two commands", got)
	}
	var types []cellhold.EventType
	for e := range d.Read(t.Context(), ids[2], 0) {
		types = append(types, e.Type)
	}
	if diff := cmp.Diff([]cellhold.EventType{"stream", cellhold.EventRecordDamaged, "stream"}, types); diff != "" {
		t.Errorf("types of the copied events (-want +got):\n%s", diff)
	}
}

func mark(err error) string {
	if errors.Is(err, ErrDamaged) {
		return "!"
	}
	return ""
}

func TestTheErrorForAFileThatIsNoDatabaseNamesTheFileAndARemedy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	must(t, os.WriteFile(path, bytes.Repeat([]byte("not a database\n"), 1000), 0o600))
	_, err := Open(t.Context(), Options{Dir: dir})
	e, ok := errors.AsType[*cellhold.Error](err)
	if !ok || !strings.Contains(e.Message, path) || !strings.Contains(e.Message, "backup") {
		t.Errorf("got %v, want a message with %s and the word backup", err, path)
	}
	if got, _ := os.ReadFile(path); len(got) != 15000 {
		t.Errorf("the refused file has %d bytes, want the 15000 bytes from before", len(got))
	}
}

// If the file is damaged, the store refuses it, reports damage, or returns the written records.
func TestADamagedFileIsNeverReadAsOtherRecords(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	want := make(map[cellhold.SessionID]record.Session)
	for range 8 {
		s := newSession()
		want[s.ID] = s
		must(t, d.PutSession(t.Context(), s))
		must(t, d.PutCell(t.Context(), newCell(s.ID, "code")))
		must(t, d.Append(t.Context(), s.ID, []record.Event{stream(1, "one"), stream(2, strings.Repeat("x", 9000))}))
	}
	must(t, d.Close())
	good, err := os.ReadFile(filepath.Join(dir, fileName))
	must(t, err)

	r := rand.New(rand.NewPCG(1, 2)) // fixed, so that failures are reproducible
	refused, reported := 0, 0
	for range 150 {
		bad := spoil(r, bytes.Clone(good))
		must(t, os.WriteFile(filepath.Join(dir, fileName), bad, 0o600))
		switch n, ok := survey(t, dir, want); {
		case !ok:
			refused++
		case n > 0:
			reported++
		}
	}
	t.Logf("of 150 damaged files, %d were refused at the start and %d were reported later", refused, reported)
	if refused == 0 || reported == 0 {
		t.Errorf("%d damaged files were refused at the start and %d were reported later, want at least 1 and 1", refused, reported)
	}
}

// spoil flips a bit, overwrites a part with zeros, or truncates the file.
func spoil(r *rand.Rand, b []byte) []byte {
	at := r.IntN(len(b))
	switch r.IntN(4) {
	case 0:
		clear(b[at:min(at+4096, len(b))])
	case 1:
		return b[:at]
	default:
		b[at] ^= 1 << r.IntN(8)
	}
	return b
}

// survey reads all records, and fails the test if a record was never written. It returns the number of damage reports, or
// false if the store refused to open.
func survey(t *testing.T, dir string, want map[cellhold.SessionID]record.Session) (damages int, ok bool) {
	d, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		return 0, false
	}
	defer d.Close()
	for s, err := range d.Sessions(t.Context()) {
		if err != nil {
			damages++
			continue
		}
		if diff := cmp.Diff(s, want[s.ID]); diff != "" {
			t.Errorf("got a session that was never written (-got +want):\n%s", diff)
		}
		for e, err := range d.Read(t.Context(), s.ID, 0) {
			if err != nil {
				damages++
			} else if text := string(e.Content); !strings.Contains(text, `"one"`) && !strings.Contains(text, strings.Repeat("x", 9000)) {
				t.Errorf("got the event %.80s, want a written event", text)
			}
		}
		for c, err := range d.Cells(t.Context(), s.ID) {
			if err != nil {
				damages++
			} else if c.Code != "code" {
				t.Errorf("got the cell %+v, want a written cell", c)
			}
		}
	}
	return damages, true
}

func TestAWriteToAFullDatabaseFailsAndALaterOneWorks(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, id := t.Context(), put(t, d)
	must(t, d.Append(ctx, id, []record.Event{stream(1, "a")}))
	limit := func(pages string) {
		var n int64
		must(t, d.write.conn.QueryRowContext(ctx, `PRAGMA max_page_count = `+pages).Scan(&n))
	}
	limit("1") // SQLite takes the present size
	err := d.Append(ctx, id, []record.Event{stream(2, strings.Repeat("x", 1<<20))})
	if e, ok := errors.AsType[*cellhold.Error](err); !ok || e.Kind != cellhold.Unavailable {
		t.Fatalf("write to a full database: got %v, want kind unavailable", err)
	}
	if tail, _, err := d.Tail(ctx, id); tail != 1 || err != nil {
		t.Errorf("got tail %d, %v, want 1", tail, err)
	}
	limit("1000000")
	must(t, d.Append(ctx, id, []record.Event{stream(2, strings.Repeat("x", 1<<20))}))
}

func TestSessionsCanBeDeletedOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skip("a small file system cannot be mounted here (needs root):", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	d := open(t, dir)
	ctx, big, small := t.Context(), put(t, d), put(t, d)
	for _, size := range []int{100_000, 10} { // small events fill the rest of the disk
		if err := appendUntilFull(t, d, big, size); cellhold.KindOf(err) != cellhold.Unavailable {
			t.Fatalf("append to a full disk: got %v, want kind unavailable", err)
		}
	}
	if err := d.PutCell(ctx, newCell(small, strings.Repeat("x", 100_000))); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Fatalf("PutCell on a full disk: got %v, want kind unavailable", err)
	}
	must(t, d.DeleteSession(ctx, big))
	must(t, d.Append(ctx, small, []record.Event{stream(1, strings.Repeat("x", 1<<20))}))
	if info, err := os.Stat(filepath.Join(dir, reserveName)); err != nil || info.Size() != reserveBytes {
		t.Errorf("got a reserve of %d bytes, %v; want %d", info.Size(), err, reserveBytes)
	}
}

// TestTheStoreOpensOnAFullDiskAndSessionsCanBeDeleted: another program filled the disk while no server ran.
func TestTheStoreOpensOnAFullDiskAndSessionsCanBeDeleted(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skip("a small file system cannot be mounted here (needs root):", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	d := open(t, dir)
	ctx, big, small := t.Context(), put(t, d), put(t, d)
	fillSession(t, d, big, 100, 100_000)
	must(t, d.Close())
	fillDisk(t, filepath.Join(dir, "filler"))

	var log bytes.Buffer
	d, err := Open(ctx, Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	if n := strings.Count(log.String(), "the disk is full"); n != 1 {
		t.Errorf("the log says %d times that the disk is full, want once:\n%s", n, &log)
	}
	if got := sessions(t, d); len(got) != 2 {
		t.Errorf("got sessions %v, want 2", got)
	}
	if err := appendUntilFull(t, d, small, 10_000); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Fatalf("append to a full disk: got %v, want kind unavailable", err)
	}
	must(t, d.DeleteSession(ctx, big)) // a part of the reserve is left for this
	must(t, d.PutCell(ctx, newCell(small, strings.Repeat("x", 100_000))))
}

// fillDisk writes a file until the disk has no space.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("fill the disk: got %v, want %v", err, unix.ENOSPC)
		}
		err = nil
	}
}

func appendUntilFull(t *testing.T, d *DB, id cellhold.SessionID, size int) error {
	t.Helper()
	tail, _, err := d.Tail(t.Context(), id)
	for err == nil {
		tail++
		err = d.Append(t.Context(), id, []record.Event{stream(tail, strings.Repeat("x", size))})
	}
	return err
}
