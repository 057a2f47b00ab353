package report

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the pages again")

// The samples of a run give one page. testdata has the expected page.
func TestAPageIsMadeOfTheSamples(t *testing.T) {
	f, err := os.Open("testdata/results.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := r.WriteMarkdown(&page, []Chart{{"first.svg", "First answers"}}, readHistory(t)); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.md")
	if *update {
		if err := os.WriteFile(golden, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if page.String() != string(want) {
		t.Errorf("the page differs from %s; if that is meant, run the test with -update. It is:\n%s", golden, &page)
	}
}

func TestQuantilesAreTheNearestRank(t *testing.T) {
	hundred := &Series{}
	for i := range 100 {
		hundred.Put(float64(100 - i)) // unsorted
	}
	for _, x := range []struct {
		name string
		of   *Series
		q    float64
		want float64
	}{
		{"the median of a hundred", hundred, 0.5, 50},
		{"the 90th percentile", hundred, 0.9, 90},
		{"the 99th percentile", hundred, 0.99, 99},
		{"the largest", hundred, 1, 100},
		{"the smallest", hundred, 0, 1},
		{"the 90th of ten", &Series{Samples: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, 0.9, 9},
		{"the 99th of few is the largest", &Series{Samples: []float64{3, 9, 5}}, 0.99, 9},
		{"the median of two is the lower", &Series{Samples: []float64{4, 2}}, 0.5, 2},
		{"the 99th of a single sample", &Series{Samples: []float64{7}}, 0.99, 7},
	} {
		if got := x.of.Quantile(x.q); got != x.want {
			t.Errorf("%s: got %v, want %v", x.name, got, x.want)
		}
	}
	if got := (&Series{}).Quantile(0.5); !math.IsNaN(got) {
		t.Errorf("the median without samples is %v, want NaN", got)
	}
}

func TestRatiosSayHowManyTimesBetter(t *testing.T) {
	slow := &Figure{Series: []*Series{{Contender: Bare, Samples: []float64{600}}, {Contender: Warm, Samples: []float64{15}}}}
	if got := slow.Ratio(slow.SeriesOf(Warm), Bare); got != 40 {
		t.Errorf("15 ms instead of 600 is %v times better", got)
	}
	rate := &Figure{Higher: true, Series: []*Series{{Contender: Bare, Samples: []float64{2}}, {Contender: Warm, Samples: []float64{8}}}}
	if got := rate.Ratio(rate.SeriesOf(Warm), Bare); got != 4 {
		t.Errorf("8 a second instead of 2 is %v times better", got)
	}
	if got := slow.Ratio(slow.SeriesOf(Cold), Bare); !math.IsNaN(got) {
		t.Errorf("the ratio of a contender without samples is %v, want NaN", got)
	}
}

func TestTargetsAreJudgedByTheSamples(t *testing.T) {
	report := func(bare, warm float64) *Report {
		r := &Report{Contenders: []Contender{{Name: Warm}}}
		r.Add(Figure{Key: "first"}).SeriesOf(Bare).Put(bare)
		r.Figure("first").SeriesOf(Warm).Put(warm)
		return r
	}
	least := target{of: ref{"first", Bare, 0.5}, over: &ref{"first", Warm, 0.5}, bound: 40}
	most := target{of: ref{"first", Warm, 0.5}, most: true, bound: 15, unit: "ms"}
	aim := most
	aim.aim = true
	without := &Report{Contenders: []Contender{{Name: Warm, LeftOut: "no templates"}}}
	for _, x := range []struct {
		name   string
		target target
		report *Report
		got    string
		result string
	}{
		{"more than wanted", least, report(900, 15), "60 times", "reached"},
		{"as much as wanted", least, report(600, 15), "40 times", "reached"},
		{"less than wanted", least, report(600, 30), "20 times", "**missed** by 50 %"},
		{"quick enough", most, report(600, 15), "15 ms", "reached"},
		{"too slow", most, report(600, 18), "18 ms", "**missed** by 20 %"},
		{"slower than the aim", aim, report(600, 18), "18 ms", "aim missed by 20 %"},
		{"as quick as the aim", aim, report(600, 15), "15 ms", "reached"},
		{"never measured", most, without, "–", "not measured: without " + Warm},
	} {
		v := x.target.judge(x.report)
		if v.got != x.got || v.result != x.result {
			t.Errorf("%s: got %s, %s; want %s, %s", x.name, v.got, v.result, x.got, x.result)
		}
	}
}

func TestAReportHasTheReasonsOfMissedTargetsOnly(t *testing.T) {
	for _, x := range []struct {
		took float64
		want bool
	}{{100, false}, {300, true}} {
		r := &Report{}
		r.Add(Figure{Key: "first"}).SeriesOf(Bare).Put(600)
		r.Figure("first").SeriesOf(Restore).Put(x.took)
		var page strings.Builder
		r.judged(&page)
		if got := strings.Contains(page.String(), restoreLimit); got != x.want {
			t.Errorf("a restore of %v ms against 600: %s", x.took, page.String())
		}
	}
}

// An arbitrary error of a contender does not break the page, and reveals nothing about the machine.
func TestErrorsOfContendersStayOnOneLine(t *testing.T) {
	r := &Report{Contenders: []Contender{{Name: "x", LeftOut: "/home/me/x: no"}}}
	r.Add(Figure{Key: "first", Title: "First"}).SeriesOf("x").Fail(&os.PathError{Op: "open", Path: "/home/me/a\n| b |\n# c", Err: os.ErrNotExist})
	r.Scrub(strings.NewReplacer("/home/me", "HOME"))
	var page bytes.Buffer
	if err := r.WriteMarkdown(&page, nil, nil); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); !strings.Contains(text, "Failures of x: 1. The last error: open HOME/a / b / # c: file does not exist\n") || strings.Contains(text, "/home/me") {
		t.Errorf("the page is\n%s", text)
	}
}
