package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellhold/bench/report"
)

// A tiny run with real sandboxes writes a complete report. Contenders that took part have samples, all others have a
// reason, and nothing is left behind. The Python contenders are left out, because tests have no venv.
func TestATinyRunMakesAReport(t *testing.T) {
	home := os.Getenv("CELLHOLD_TEST_HOME")
	if home == "" {
		home = "../build/home"
	}
	o := options{program: "../build/bin/cellhold", home: home, python: "no-such-venv/bin/python", sources: ".", out: t.TempDir(), warm: 1, only: []string{"first", "cell"}, with: []string{"warm", "cold", "bare"}}
	b, err := newBench(o)
	if err != nil {
		t.Fatal(err)
	}
	b.n = sizes{first: 1, blocks: 1}
	b.steps(t.Context())
	charts := b.charts(t.Context())
	b.close()
	if _, err := os.Stat(b.temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s still exists: %v", b.temp, err)
	}
	if err := write(b.report, o.out, charts, nil); err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct{ figure, contender string }{{"first", report.Cold}, {"destroy", report.Cold}, {"cell", report.Cellhold}, {"cell", report.Stream}, {"cell", report.Raw}} {
		if s := b.report.Figure(at.figure).SeriesOf(at.contender); len(s.Samples) == 0 || s.Failed > 0 {
			t.Errorf("%s of %s has %d samples, %d failed: %s", at.figure, at.contender, len(s.Samples), s.Failed, s.Error)
		}
	}
	page, err := os.ReadFile(filepath.Join(o.out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## Targets", "| cellhold, cold |", "![From the create call", "without bare ipykernel", "the venv of bench/requirements.txt does not exist"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	for _, c := range charts {
		if info, err := os.Stat(filepath.Join(o.out, c.File)); err != nil || info.Size() < 1000 {
			t.Errorf("the chart %s is not a picture: %v", c.File, err)
		}
	}
}

func TestOvertakenSessionsAreCounted(t *testing.T) {
	at := func(ms ...int) []attempt {
		begun := time.Now()
		var all []attempt
		for _, m := range ms {
			all = append(all, attempt{created: begun.Add(time.Duration(m) * time.Millisecond)})
		}
		return all
	}
	failed := at(9, 1, 2)
	failed[1].err = errors.New("not served")
	for _, x := range []struct {
		name string
		all  []attempt
		want int
	}{
		{"in order", at(1, 2, 3, 4), 0},
		{"two that swapped", at(2, 1, 3, 4), 1},
		{"the first came last", at(9, 1, 2, 3), 3},
		{"a failed session overtakes no session", failed, 1},
		{"no sessions", nil, 0},
	} {
		if got := overtaken(x.all); got != x.want {
			t.Errorf("%s: got %d, want %d", x.name, got, x.want)
		}
	}
}
