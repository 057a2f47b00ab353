package oneshot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/session"
)

// full says that no session is free.
var full = cellhold.Errorf(cellhold.Exhausted, "no session is free")

// newRuns returns Runs on a home whose sessions all fail with err.
func newRuns(t *testing.T, home string, err error) *Runs {
	t.Helper()
	r := New(Options{Home: home, MaxSessions: 4, MaxTimeout: time.Hour, Logger: slog.New(slog.DiscardHandler),
		Create: func(context.Context, string, cellhold.RunRequest, time.Duration) (*session.Session, error) {
			return nil, err
		}})
	t.Cleanup(r.Close)
	return r
}

var two = []cellhold.RunRequest{{Code: "a"}, {Code: "b"}}

const twoHead = `{"runs":2,"digest":"d"}` + "\n"

func TestAReplayKeepsCompleteLinesAndRefusesDamage(t *testing.T) {
	const result = `{"done":1,"final":true,"size":11}` + "\n" + `{"index":1}` + "\n"
	for _, x := range []struct {
		name, text  string
		done, begun []int
		last        int // size of the lines that count; -1 means an error
	}{
		{"no line", "", nil, nil, 0},
		{"an incomplete head", `{"runs":2`, nil, nil, 0},
		{"a head", twoHead, nil, nil, len(twoHead)},
		{"a run that began", twoHead + `{"begun":0}` + "\n", nil, []int{0}, len(twoHead) + 12},
		{"a result", twoHead + `{"begun":1}` + "\n" + result, []int{1}, nil, len(twoHead) + 12 + len(result)},
		{"an incomplete result", twoHead + `{"begun":1}` + "\n" + result[:20], nil, []int{1}, len(twoHead) + 12},
		{"a result that is cut", twoHead + `{"begun":1}` + "\n" + result[:40], nil, []int{1}, len(twoHead) + 12},
		{"a result without its end", twoHead + result[:len(result)-1], nil, nil, len(twoHead)},
		{"a run that was refused", twoHead + `{"done":0,"size":2}` + "\n{}\n", nil, nil, len(twoHead) + 23},
		{"a damaged line", twoHead + "{{{\n" + result, nil, nil, -1},
		{"a run of another batch", twoHead + `{"begun":2}` + "\n", nil, nil, -1},
		{"a run that began after its result", twoHead + result + `{"begun":1}` + "\n", nil, nil, -1},
		{"two results of one run", twoHead + result + result, nil, nil, -1},
		{"two beginnings of one run", twoHead + strings.Repeat(`{"begun":1}`+"\n", 2), nil, nil, -1},
		{"a result of another size", twoHead + strings.Replace(result, "11", "5", 1), nil, nil, -1},
		{"a result of no size", twoHead + `{"done":1,"final":true}` + "\n", nil, nil, -1},
		{"a long line", twoHead + strings.Repeat(" ", maxLine) + result, nil, nil, -1},
	} {
		f, err := replay(strings.NewReader(x.text), 2)
		if (err != nil) != (x.last < 0) {
			t.Errorf("%s: got %v, want an error: %t", x.name, err, x.last < 0)
		}
		if err == nil && (!slices.Equal(slices.Sorted(maps.Keys(f.done)), x.done) || !slices.Equal(slices.Sorted(maps.Keys(f.begun)), x.begun) || f.last != int64(x.last)) {
			t.Errorf("%s: got done %v, begun %v, %d bytes; want %v, %v, %d", x.name, f.done, f.begun, f.last, x.done, x.begun, x.last)
		}
	}
}

// FuzzReplay: the files are on the server's disk, which can be damaged.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(twoHead + `{"begun":1}` + "\n" + `{"done":1,"final":true,"size":11}` + "\n" + `{"index":1}` + "\n"))
	f.Add([]byte(twoHead + `{"done":0,"final":true,"size":1}` + "\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := replay(bytes.NewReader(b), 2)
		if got.last < 0 || got.last > int64(len(b)) {
			t.Fatalf("got %d complete bytes of %d", got.last, len(b))
		}
		if err != nil {
			return
		}
		for _, s := range got.results {
			if s.at < 0 || s.size <= 0 || s.at+s.size > got.last {
				t.Fatalf("got the result %+v outside of %d bytes", s, got.last)
			}
		}
		if len(got.results) != len(got.done) || len(missing(2, got))+len(got.done)+len(got.begun) != 2 && got.head.Runs == 2 {
			t.Fatalf("got %d results, done %v, begun %v; want each run once", len(got.results), got.done, got.begun)
		}
	})
}

func TestARefusedRunOfAKeyIsTriedAgain(t *testing.T) {
	r := newRuns(t, t.TempDir(), cellhold.Errorf(cellhold.NotFound, "no image"))
	for range 2 {
		err := r.Run(t.Context(), "ann", "k", two[0], func(*io.SectionReader) error { t.Error("got a result, want an error"); return nil })
		if cellhold.KindOf(err) != cellhold.NotFound {
			t.Errorf("got %v, want kind not_found", err)
		}
	}
	r.work.Wait()
	text, err := os.ReadFile(oneFile(t, r))
	if err != nil || strings.Count(string(text), `{"done":0,"size":`) != 2 {
		t.Errorf("got the file %s, %v; want two results that are not final", text, err)
	}
}

// TestARefusedRunIsTriedAgainWhileItsBatchIsRead: a slow reader must not keep the other readers from a second attempt.
func TestARefusedRunIsTriedAgainWhileItsBatchIsRead(t *testing.T) {
	r := newRuns(t, t.TempDir(), cellhold.Errorf(cellhold.NotFound, "no image"))
	var all []*Batch
	for range 2 {
		b, err := r.Start(t.Context(), "ann", "k", two, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Leave()
		<-b.ended
		all = append(all, b)
	}
	if all[0] == all[1] {
		t.Error("got the batch with the refused runs, want another attempt")
	}
}

func TestASingleRunDoesNotWaitForAFreeSession(t *testing.T) {
	r := newRuns(t, t.TempDir(), full)
	for _, key := range []string{"", "k"} {
		err := r.Run(t.Context(), "ann", key, two[0], func(*io.SectionReader) error { return nil })
		if cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("key %q: got %v, want kind exhausted", key, err)
		}
	}
}

// oneFile returns the path of the only file.
func oneFile(t *testing.T, r *Runs) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("got the files %v, %v; want one", names, err)
	}
	return names[0]
}

func TestDamagedResultsOfAKeyAreRefused(t *testing.T) {
	r := newRuns(t, t.TempDir(), errors.New("no session"))
	b, err := r.Start(t.Context(), "ann", "k", two, 0)
	if err != nil {
		t.Fatal(err)
	}
	<-b.ended
	b.Leave()
	r.work.Wait()
	at := oneFile(t, r)
	text, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, append(text, "damage\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), "ann", "k", two, 0); cellhold.KindOf(err) != cellhold.Internal {
		t.Errorf("got %v, want kind internal", err)
	}
	if len(r.batches) > 0 || len(r.keyed) > 0 {
		t.Errorf("got the batches %v, want none after the error", r.batches)
	}
}

func TestAKeyIsRefusedIfItsResultsCannotBeStored(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "runs"), nil, 0o600); err != nil { // a file in the place of the folder
		t.Fatal(err)
	}
	r := newRuns(t, home, full)
	for _, key := range []string{"k", ""} {
		if _, err := r.Start(t.Context(), "ann", key, two, 0); cellhold.KindOf(err) != cellhold.Unavailable {
			t.Errorf("key %q: got %v, want kind unavailable", key, err)
		}
	}
	if len(r.batches) > 0 || len(r.keyed) > 0 {
		t.Errorf("got the batches %v, want none after the errors", r.batches)
	}
}

// TestTheRestOfAnIncompleteLineIsRemoved: a crash can leave a part of a long line, and the next line is shorter.
func TestTheRestOfAnIncompleteLineIsRemoved(t *testing.T) {
	r := newRuns(t, t.TempDir(), cellhold.Errorf(cellhold.NotFound, "no image"))
	for range 3 {
		b, err := r.Start(t.Context(), "ann", "k", two, 0)
		if err != nil {
			t.Fatal(err)
		}
		<-b.ended
		b.Leave()
		r.work.Wait()
		f, err := os.OpenFile(oneFile(t, r), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(`{"done":0,"final":true,"size":2000}` + "\n" + strings.Repeat("x", 1000))
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOtherRunsWithAKeyAreAConflictAndKeepItsResults(t *testing.T) {
	r := newRuns(t, t.TempDir(), cellhold.Errorf(cellhold.NotFound, "no image"))
	start := func(list []cellhold.RunRequest) error {
		b, err := r.Start(t.Context(), "ann", "k", list, 0)
		if err == nil {
			<-b.ended
			b.Leave()
			r.work.Wait()
		}
		return err
	}
	if err := start(two); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(oneFile(t, r))
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range [][]cellhold.RunRequest{two[:1], {{Code: "a"}, {Code: "other"}}} {
		if err := start(other); cellhold.KindOf(err) != cellhold.Conflict {
			t.Errorf("%+v: got %v, want kind conflict", other, err)
		}
	}
	if after, err := os.ReadFile(oneFile(t, r)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("got the file %s, %v; want it unchanged: %s", after, err, before)
	}
}

func TestABatchWithoutAKeyLeavesNoFile(t *testing.T) {
	r := newRuns(t, t.TempDir(), full)
	b, err := r.Start(t.Context(), "ann", "", two, 0)
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(r.dir)
	if err != nil || len(names) > 0 {
		t.Errorf("got the files %v, %v; want none", names, err)
	}
	b.Leave()
	if len(r.batches) > 0 {
		t.Errorf("got the batches %v, want none after the caller left", r.batches)
	}
}

func TestOldResultsOfKeysAreRemoved(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, "runs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	used := nameOf("ann", "k")
	old := time.Now().Add(-retention - time.Hour)
	for name, at := range map[string]time.Time{"a-old.runs": old, "a-new.runs": time.Now(), "other": old, used + ending: old} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 2), os.Chtimes(p, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	r := newRuns(t, filepath.Join(home, "none"), full)
	r.Close() // without its timer
	r.dir = dir
	r.countFiles()
	r.batches[&Batch{name: used, cancel: func(error) {}}] = true
	r.removeOld()
	var left []string
	names, err := os.ReadDir(dir)
	for _, e := range names {
		left = append(left, e.Name())
	}
	if want := []string{used + ending, "a-new.runs", "other"}; err != nil || !slices.Equal(slices.Sorted(slices.Values(left)), slices.Sorted(slices.Values(want))) {
		t.Errorf("got the files %q, %v; want %q", left, err, want)
	}
	if got := r.files.all; got != (amount{2, 4}) {
		t.Errorf("got the count %+v, want two files of 2 bytes", got)
	}
}

// TestFilesAreCountedAsLargeAsTheyAre: if the count only grew, the server would refuse all batches after some time.
func TestFilesAreCountedAsLargeAsTheyAre(t *testing.T) {
	home := t.TempDir()
	for range 2 { // the second server finds the file
		r := newRuns(t, home, cellhold.Errorf(cellhold.NotFound, "no image"))
		for _, key := range []string{"k", "", "k"} {
			b, err := r.Start(t.Context(), "ann", key, two, 0)
			if err != nil {
				t.Fatal(err)
			}
			<-b.ended
			b.Leave()
			r.work.Wait()
			info, err := os.Stat(oneFile(t, r))
			if err != nil || r.files.all != (amount{1, info.Size()}) || r.files.own[accountOf("ann")] != r.files.all {
				t.Errorf("got the counts %+v, %+v, %v; want the file with %d bytes", r.files.all, r.files.own, err, info.Size())
			}
			if r.requests.all != (amount{}) {
				t.Errorf("got %+v of requests after the batch, want none", r.requests.all)
			}
		}
		r.Close()
	}
}

func TestOneCallerCanHaveHalfOfTheFiles(t *testing.T) {
	r := newRuns(t, t.TempDir(), full)
	for _, used := range []amount{{maxStored / 2, 0}, {0, maxKept / 2}} {
		r.files.change(accountOf("ann"), used)
		for _, key := range []string{"", "k"} {
			if _, err := r.Start(t.Context(), "ann", key, two, 0); cellhold.KindOf(err) != cellhold.Exhausted {
				t.Errorf("ann with %+v: got %v, want kind exhausted", used, err)
			}
			b, err := r.Start(t.Context(), "bob", key, two, 0)
			if err != nil {
				t.Fatalf("bob: got %v, want no error", err)
			}
			b.Leave()
		}
		r.files.change(accountOf("ann"), amount{-used.count, -used.bytes})
	}
}

func TestAResultAboveTheOwnersShareLosesItsLargeParts(t *testing.T) {
	r := newRuns(t, t.TempDir(), full)
	b, err := r.Start(t.Context(), "ann", "", two, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Leave()
	long := cellhold.RunResult{Status: cellhold.RunOK, Stdout: cellhold.CommandOutput{Text: strings.Repeat("x", maxText), Bytes: maxText}}
	for i, room := range []int64{maxText, 0} {
		r.files.own[accountOf("ann")] = amount{1, maxKept/2 - room}
		if err := b.put(i, long, true, leastRun); err != nil {
			t.Fatal(err)
		}
		line, err := b.Result(t.Context(), i)
		if err != nil || (line.Size() > maxText) != (room > 0) {
			t.Errorf("with %d free bytes: got a result of %d bytes, %v", room, line.Size(), err)
		}
	}
}

func TestOneCallerCanHaveHalfOfTheRequests(t *testing.T) {
	r := newRuns(t, t.TempDir(), full)
	many := make([]string, 10_000) // small on the wire, large in memory
	for name, list := range map[string][]cellhold.RunRequest{
		"code":  {{Code: strings.Repeat("x", 4<<20)}, {Code: strings.Repeat("y", 4<<20)}},
		"args":  slices.Repeat([]cellhold.RunRequest{{Code: "x", Args: many}}, 60),
		"tests": {{Code: "x", Tests: slices.Repeat([]cellhold.RunTest{{Args: many}}, 60)}},
	} {
		var all []*Batch
		start := func(owner string) error {
			b, err := r.Start(t.Context(), owner, "", list, 1)
			if err == nil {
				all = append(all, b)
			}
			return err
		}
		var err error
		for range 16 {
			if err = start("ann"); err != nil {
				break
			}
		}
		if cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("%s: too many batches of ann: got %v, want kind exhausted", name, err)
		}
		if err := start("bob"); err != nil {
			t.Errorf("%s: a batch of bob: got %v, want no error", name, err)
		}
		for _, b := range all {
			b.Leave()
		}
	}
}
