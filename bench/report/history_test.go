package report

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// readHistory returns the history in testdata. It has six entries, and the fourth is of another machine.
func readHistory(t *testing.T) History {
	t.Helper()
	f, err := os.Open("testdata/history.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := ReadHistory(f)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ran returns a run of a build in which a bare kernel needs 600 ms, and cellhold needs ms.
func ran(commit string, ms float64) *Report {
	r := &Report{Version: "development", Commit: commit, Begun: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), Machine: Machine{Cores: 2, Memory: 23.54}}
	r.Add(Figure{Key: "first"}).SeriesOf(Bare).Put(600)
	r.Figure("first").SeriesOf(Warm).Put(ms)
	return r
}

func TestAnEntryHasTheTargetsThatWereMeasured(t *testing.T) {
	e := ran("a", 9).Entry()
	if want := map[string]float64{"warm": 66.67, "warm-ms": 9}; !maps.Equal(e.Figures, want) {
		t.Errorf("the figures are %v, want %v", e.Figures, want)
	}
	if e.Date != "2026-11-29" || e.build() != "a" || e.Machine.Memory != 24 {
		t.Errorf("the entry is %+v", e)
	}
}

func TestAnotherRunOfABuildReplacesItsEntry(t *testing.T) {
	release, larger := ran("b", 9), ran("a", 7)
	release.Version = "1.0.0"
	larger.Machine.Cores = 64
	var h History
	for _, r := range []*Report{ran("a", 10), release, ran("c", 8), larger, ran("a", 9)} {
		h = h.With(r.Entry())
	}
	var got []float64
	for _, e := range h {
		got = append(got, e.Figures["warm-ms"])
	}
	if want := []float64{9, 9, 8, 7}; !slices.Equal(got, want) { // the first one is replaced; another machine has its own
		t.Errorf("the entries have %v ms, want %v", got, want)
	}
}

func TestOnlyALossIsMarked(t *testing.T) {
	for _, x := range []struct {
		name          string
		before, after float64 // ms
		want          string  // of the row of a ratio, and of a time
	}{
		{"a gain", 20, 10, " 30 times | 60 times | / 20 ms | 10 ms |"},
		{"a small loss", 10, 11, " 60 times | 54.5 times | / 10 ms | 11 ms |"},
		{"a loss", 10, 12.5, " 60 times | **48 times**, 20 % worse | / 10 ms | **12.5 ms**, 25 % worse |"},
	} {
		h := History{ran("a", x.before).Entry(), ran("b", x.after).Entry()}
		if got := h.row(named("warm"), 0) + " /" + h.row(named("warm-ms"), 0); got != x.want {
			t.Errorf("%s: got %s, want %s", x.name, got, x.want)
		}
	}
}

func TestALossIsFoundAcrossOtherMachinesAndGaps(t *testing.T) {
	larger, unmeasured := ran("b", 1), ran("c", 9).Entry()
	larger.Machine.Cores = 64
	delete(unmeasured.Figures, "warm-ms")
	h := History{ran("a", 9).Entry(), larger.Entry(), unmeasured, ran("d", 18).Entry()}
	if got, want := h.row(named("warm-ms"), 0), " 9 ms | 1 ms | – | **18 ms**, 100 % worse |"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheHistoryShowsTheLastFiveRuns(t *testing.T) {
	var b strings.Builder
	h := readHistory(t)
	h.table(&b)
	for i, e := range h {
		if got, want := strings.Contains(b.String(), e.build()), i > 0; got != want {
			t.Errorf("entry %d of %d, %s: shown is %v, want %v", i+1, len(h), e.build(), got, want)
		}
	}
}

func TestNamesInTheHistoryAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, x := range targets {
		if x.name != "" && seen[x.name] {
			t.Errorf("two targets have the name %s", x.name)
		}
		seen[x.name] = true
	}
}

// named returns a target by its name in the history.
func named(name string) target {
	return targets[slices.IndexFunc(targets, func(t target) bool { return t.name == name })]
}
