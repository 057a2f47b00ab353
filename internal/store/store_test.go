package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t testing.TB, dir string) *DB {
	t.Helper()
	d, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func stream(seq int64, text string) record.Event {
	e := record.NewEvent(cellhold.EventStream, "python3", "c1", cellhold.StreamContent{Name: "stdout", Text: text})
	e.Seq, e.Time, e.Boot, e.Source = seq, time.Unix(1700000000, seq).UTC(), "boot1", seq
	return e
}

func newSession() record.Session {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return record.Session{Session: cellhold.Session{
		ID: cellhold.NewSessionID(), User: "ann/../é", State: cellhold.SessionReady, Image: "python",
		Created: now, Used: now, Expires: now.Add(time.Hour), Limits: cellhold.Limits{Memory: 1 << 30, CPU: 0.5},
		Kernels: []cellhold.Kernel{{ID: "python3", Language: "python", State: cellhold.KernelIdle}},
		Meta:    map[string]string{"a": "b"}},
		Owner: "default", Sandbox: "sandbox-1", Digest: "sha256:1", Article: true,
	}
}

func newCell(s cellhold.SessionID, code string) record.Cell {
	return record.Cell{Timeout: 90 * time.Second, Cell: cellhold.Cell{
		ID: cellhold.NewCellID(), Session: s, Kernel: "python3", Code: code, State: cellhold.CellQueued,
		Submitted: time.Unix(1700000000, 5).UTC(), Outputs: []cellhold.Output{},
	}}
}

// put records a new session and returns its id.
func put(t testing.TB, d *DB) cellhold.SessionID {
	t.Helper()
	s := newSession()
	must(t, d.PutSession(t.Context(), s))
	return s.ID
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, d *DB, id cellhold.SessionID, after int64) (evs []record.Event) {
	t.Helper()
	for e, err := range d.Read(t.Context(), id, after) {
		must(t, err)
		evs = append(evs, e)
	}
	return evs
}

func TestRecordsAreUnchangedAfterARestart(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	ctx := t.Context()
	s := newSession()
	must(t, d.PutSession(ctx, s))
	first, second := newCell(s.ID, "x = 1"), newCell(s.ID, "x")
	must(t, d.PutCell(ctx, first))
	must(t, d.PutCell(ctx, second))
	first.State, first.Status, first.ExecutionCount = cellhold.CellDone, cellhold.StatusOK, 1
	first.Outputs = []cellhold.Output{{Type: cellhold.EventExecuteResult, ExecutionCount: 1,
		Data: map[string]json.RawMessage{"text/plain": json.RawMessage(`"1"`)}, Metadata: map[string]json.RawMessage{}}}
	must(t, d.PutCell(ctx, first)) // changed: keeps its place
	evs := []record.Event{stream(1, "a"), stream(2, "<é&\u2028>"), stream(3, "c")}
	evs[2].Source, evs[2].Boot, evs[2].Time = 0, "", time.Time{} // made by the host
	must(t, d.Append(ctx, s.ID, evs))
	must(t, d.Close())

	d = open(t, dir)
	for got, err := range d.Sessions(ctx) {
		must(t, err)
		if diff := cmp.Diff(got, s); diff != "" {
			t.Errorf("session differs (-got +want):\n%s", diff)
		}
	}
	var cells []record.Cell
	for c, err := range d.Cells(ctx, s.ID) {
		must(t, err)
		cells = append(cells, c)
	}
	if diff := cmp.Diff(cells, []record.Cell{first, second}); diff != "" {
		t.Errorf("cells differ (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(read(t, d, s.ID, 0), evs); diff != "" {
		t.Errorf("events differ (-got +want):\n%s", diff)
	}
	if got := read(t, d, s.ID, 2); len(got) != 1 || got[0].Seq != 3 {
		t.Errorf("got %v after event 2, want event 3", got)
	}
}

func TestTheOlderWordForHibernatedIsReadAsHibernated(t *testing.T) {
	d := open(t, t.TempDir())
	s := newSession()
	s.State = suspendedState
	old := record.NewEvent(suspendedEvent, "", "", cellhold.SessionHibernatedContent{Idle: true})
	old.Seq = 1
	must(t, d.PutSession(t.Context(), s))
	must(t, d.AppendSession(t.Context(), s, []record.Event{old}))
	for got, err := range d.Sessions(t.Context()) {
		if err != nil || got.State != cellhold.SessionHibernated {
			t.Errorf("got the state %q, %v; want %q", got.State, err, cellhold.SessionHibernated)
		}
	}
	if evs := read(t, d, s.ID, 0); len(evs) != 1 || evs[0].Type != cellhold.EventSessionHibernated {
		t.Errorf("got the events %v, want one of type %q", evs, cellhold.EventSessionHibernated)
	}
}

func TestTheLastEventAndTheCursorsAreKnownAfterARestart(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	ctx, id := t.Context(), put(t, d)
	if tail, _, err := d.Tail(ctx, id); tail != 0 || err != nil {
		t.Errorf("got tail %d, %v of a new session, want 0", tail, err)
	}
	must(t, d.Append(ctx, id, []record.Event{stream(1, "a"), stream(2, "b")}))
	must(t, d.Close())

	d = open(t, dir)
	if tail, bytes, err := d.Tail(ctx, id); tail != 2 || bytes == 0 || err != nil {
		t.Errorf("got tail %d with %d bytes, %v; want 2 and more than 0 bytes", tail, bytes, err)
	}
	for _, c := range []struct {
		kernel cellhold.KernelID
		boot   string
		want   int64
	}{{"python3", "boot1", 2}, {"python3", "boot2", 0}, {"other", "boot1", 0}} {
		if got, err := d.Cursor(ctx, id, c.kernel, c.boot); got != c.want || err != nil {
			t.Errorf("got cursor %d, %v of %s in %s, want %d", got, err, c.kernel, c.boot, c.want)
		}
	}
	replayed := stream(3, "b again")
	replayed.Source = 2
	if err := d.Append(ctx, id, []record.Event{replayed}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("got %v for a replayed event, want ErrDuplicate", err)
	}
	restarted := stream(3, "c")
	restarted.Boot, restarted.Source = "boot2", 1
	must(t, d.Append(ctx, id, []record.Event{restarted}))
}

func TestAnInvalidAppendStoresNoEvent(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, id := t.Context(), put(t, d)
	must(t, d.Append(ctx, id, []record.Event{stream(1, "a")}))
	twice := stream(3, "b")
	twice.Source = 2
	for name, bad := range map[string][]record.Event{
		"a gap":             {stream(2, "b"), stream(4, "c")},
		"a repeated number": {stream(2, "b"), stream(2, "c")},
		"an old event":      {stream(1, "a")},
		"a repeated source": {stream(2, "b"), twice},
	} {
		if err := d.Append(ctx, id, bad); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
		if tail, _, _ := d.Tail(ctx, id); tail != 1 {
			t.Fatalf("%s: got tail %d, want 1", name, tail)
		}
	}
	must(t, d.Append(ctx, id, []record.Event{stream(2, "b"), stream(3, "c")}))
}

func TestAnUnknownSessionHasNoRecordsAndAcceptsNone(t *testing.T) {
	d := open(t, t.TempDir())
	ctx := t.Context()
	if err := d.Append(ctx, "unknown", []record.Event{stream(1, "a")}); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("Append: got %v, want kind not_found", err)
	}
	if err := d.PutCell(ctx, newCell("unknown", "1")); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("PutCell: got %v, want kind not_found", err)
	}
	if evs := read(t, d, "unknown", 0); len(evs) != 0 {
		t.Errorf("Read: got %v, want 0 events", evs)
	}
	must(t, d.DeleteSession(ctx, "unknown"))
}

func TestACellOfAnotherSessionIsNotFound(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, mine, theirs := t.Context(), put(t, d), put(t, d)
	c := newCell(mine, "secret")
	must(t, d.PutCell(ctx, c))
	if got, err := d.Cell(ctx, mine, c.ID); err != nil || cmp.Diff(got, c) != "" {
		t.Errorf("got %+v, %v, want the cell", got, err)
	}
	if _, err := d.Cell(ctx, theirs, c.ID); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("read a cell with the id of another session: got %v, want kind not_found", err)
	}
}

func TestASlowReaderDoesNotBlockAWriter(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, id := t.Context(), put(t, d)
	large := strings.Repeat("x", batchBytes) // one event in each batch
	for seq := int64(1); seq <= 3; seq++ {
		must(t, d.Append(ctx, id, []record.Event{stream(seq, large)}))
	}
	seen := int64(0)
	for e, err := range d.Read(ctx, id, 0) {
		must(t, err)
		if seen++; e.Seq != seen {
			t.Fatalf("got event %d, want %d", e.Seq, seen)
		}
		if n := d.read.Stats().InUse; n != 0 {
			t.Fatalf("got %d connections in use while the consumer works, want 0", n)
		}
		if seen == 1 { // an append works during the read, and the reader gets the new event too
			must(t, d.Append(ctx, id, []record.Event{stream(4, large)}))
		}
	}
	if seen != 4 {
		t.Errorf("got %d events, want 4", seen)
	}
}

func TestBatchesCoverEveryEventOnce(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, id, other := t.Context(), put(t, d), put(t, d)
	const n = 2*batchRows + 3
	var evs []record.Event
	for seq := int64(1); seq <= n; seq++ {
		evs = append(evs, stream(seq, "x"))
	}
	must(t, d.Append(ctx, id, evs))
	must(t, d.Append(ctx, other, evs[:1]))
	if diff := cmp.Diff(read(t, d, id, 1), evs[1:]); diff != "" {
		t.Errorf("events differ (-got +want):\n%s", diff)
	}
	for range n + 1 { // more cells than one batch has
		must(t, d.PutCell(ctx, newCell(other, "1")))
	}
	cells := 0
	for _, err := range d.Cells(ctx, other) {
		must(t, err)
		cells++
	}
	if cells != n+1 {
		t.Errorf("got %d cells, want %d", cells, n+1)
	}
}

func TestOnlyTheOwnerCanReadTheFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#%41") // the path is not read as a URI
	d := open(t, dir)
	id := put(t, d)
	must(t, d.Append(t.Context(), id, []record.Event{stream(1, "x")}))
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) < 4 {
		t.Errorf("got %d files in %s, want the database, its log, the lock and the reserve", len(entries), dir)
	}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, want 0600", e.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: got %v, %v, want mode 0700", dir, info.Mode(), err)
	}
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	_, err := d.write.conn.ExecContext(t.Context(), `INSERT INTO migrations VALUES (?, 0)`, latest+1)
	must(t, err)
	must(t, d.Close())
	if _, err := Open(t.Context(), Options{Dir: dir}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("got %v, want kind conflict", err)
	}
}

func TestAWaitForTheWriterEndsWithItsContext(t *testing.T) {
	d := open(t, t.TempDir())
	id := put(t, d)
	d.write.turn <- struct{}{} // another write is running
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- d.Append(ctx, id, []record.Event{stream(1, "x")}) }()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	<-d.write.turn
	must(t, d.Append(t.Context(), id, []record.Event{stream(1, "x")}))
}

func TestAClosedStoreReturnsErrorsForReadsAndWrites(t *testing.T) {
	d := open(t, t.TempDir())
	id := put(t, d)
	must(t, d.Close())
	must(t, d.Close())
	if err := d.Append(t.Context(), id, []record.Event{stream(1, "x")}); !errors.Is(err, errClosed) {
		t.Errorf("Append: got %v, want errClosed", err)
	}
	for _, err := range d.Read(t.Context(), id, 0) {
		if err == nil {
			t.Error("Read: got an event from a closed store, want an error")
		}
	}
}

func TestManySessionsWriteAndReadAtOnce(t *testing.T) {
	d := open(t, t.TempDir())
	var wg sync.WaitGroup
	for range 20 {
		id := put(t, d)
		wg.Go(func() {
			c := newCell(id, "x")
			for seq := int64(1); seq <= 50; seq++ {
				if err := errors.Join(d.Append(t.Context(), id, []record.Event{stream(seq, "x")}), d.PutCell(t.Context(), c)); err != nil {
					t.Error(err)
					return
				}
				last := int64(0)
				for e, err := range d.Read(t.Context(), id, 0) {
					if last++; err != nil || e.Seq != last {
						t.Errorf("got event %d, %v, want %d", e.Seq, err, last)
					}
				}
				if last != seq {
					t.Errorf("got %d events, want %d", last, seq)
				}
			}
		})
	}
	wg.Wait()
}

func TestAPITypesHaveNoFieldThatCallersDoNotSee(t *testing.T) {
	for _, wire := range []reflect.Type{reflect.TypeFor[cellhold.Session](), reflect.TypeFor[cellhold.Checkpoint](), reflect.TypeFor[cellhold.Cell](),
		reflect.TypeFor[cellhold.Command](), reflect.TypeFor[cellhold.Event]()} {
		for _, f := range reflect.VisibleFields(wire) {
			if f.Tag.Get("json") == "-" {
				t.Errorf("%s.%s has the JSON name -, want a field of the API; move it to package record", wire, f.Name)
			}
		}
	}
}
