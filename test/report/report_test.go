package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const transcript = `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: no cgroups here\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestB","Elapsed":0.5}
{"Action":"output","Package":"p","Test":"TestC","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestC/part","Elapsed":61}
{"Action":"pass","Package":"p","Test":"TestC","Elapsed":61.23}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
go: a message
{"Action":"output","Package":"q","Output":"PASS\n"}
{"Action":"output","Package":"q","Output":"ok  \tq\t0.2s\n"}
{"Action":"pass","Package":"q"}
`

func reported(t *testing.T, allowed allowlist) (string, bool) {
	t.Helper()
	var out strings.Builder
	r := report{w: &out, output: map[string][]string{}, skips: map[string]string{}}
	if err := r.read(strings.NewReader(transcript)); err != nil {
		t.Fatal(err)
	}
	good := r.finish(allowed, 90*time.Second)
	return out.String(), good
}

func TestTheReportListsSkipsAndSlowTests(t *testing.T) {
	got, good := reported(t, allowlist{"p/TestA": "needs cgroups"})
	want := `    b_test.go:9: got 1, want 2
FAIL	p	0.1s
go: a message
ok  	q	0.2s

1 skipped tests
  p/TestA
    says:    a_test.go:3: no cgroups here
    allowed: needs cgroups

slowest of 3 tests
    61.2 s  p/TestC
     0.5 s  p/TestB
     0.0 s  p/TestA

FAIL	p	0.1s
ok  	q	0.2s

1m30s in all
`
	if got != want || !good {
		t.Errorf("good = %v, got\n%s\nwant\n%s", good, got, want)
	}
}

func TestASkipThatIsNotAllowedFailsTheRun(t *testing.T) {
	got, good := reported(t, allowlist{"q/*": "other"})
	if good || !strings.Contains(got, "NOT ALLOWED") {
		t.Errorf("good = %v, got\n%s", good, got)
	}
}

func TestAnAllowanceNeedsAReason(t *testing.T) {
	if _, err := readAllowed(skips(t, "# comment\n\np/TestA\n"), nil); err == nil {
		t.Error("a line without a reason was accepted")
	}
}

func TestSomeSkipsAreAllowedOnlyInTheirRuns(t *testing.T) {
	name := skips(t, "p/TestA: no cgroups\nas a plain user, p/TestB: needs root\nwith the race detector, p/TestC: takes minutes\n")
	for _, test := range []struct {
		user, race bool
		want       []string
	}{
		{false, false, []string{"p/TestA"}},
		{true, false, []string{"p/TestA", "p/TestB"}},
		{false, true, []string{"p/TestA", "p/TestC"}},
		{true, true, []string{"p/TestA", "p/TestB", "p/TestC"}},
	} {
		allowed, err := readAllowed(name, map[string]bool{userOnly: test.user, raceOnly: test.race})
		if got := slices.Sorted(maps.Keys(allowed)); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("user %v, race detector %v: got %v, %v, want %v", test.user, test.race, got, err, test.want)
		}
	}
}

func skips(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "skips.txt")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
