package packages

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

// watch returns a function that counts the opens of a directory since the call.
func watch(t *testing.T, dir string) (opened func() int) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	// Both kinds of events, because successive equal events count as one.
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_OPEN|syscall.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	return func() int {
		events := make([]byte, 1<<20)
		n, err := syscall.Read(fd, events)
		if err == syscall.EAGAIN {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return n / syscall.SizeofInotifyEvent / 2
	}
}

func TestARequestOfCodeReadsTheFolderOfPackagesAtMostOnce(t *testing.T) {
	var list []string // names that could belong to other packages
	for i := range 1000 {
		list = append(list, []string{"sklearn", "opencv-python", "json", "pip"}[i%4], "x")
	}
	for name, test := range map[string]struct {
		o    Options
		ask  []string
		most int
	}{
		"no code":                   {Options{Policy: Policy{Mode: Open}, Code: CodeOff}, list, 0},
		"nobody":                    {Options{Policy: Policy{Mode: Off}, Code: CodeCallers}, list, 0},
		"what callers may":          {Options{Policy: Policy{Mode: Open}, Code: CodeCallers}, list, 1},
		"names that mean no others": {Options{Policy: Policy{Mode: Open}, Code: CodeCallers}, []string{"a1", "numpy", "x"}, 0},
	} {
		p, dir := folderPackages(t, test.o)
		opened := watch(t, dir)
		plan, err := p.PlanOfCode(Request{Requirements: test.ask}, new(Tally))
		if got := opened(); got != test.most {
			t.Errorf("%s: the folder was opened %d times, %v", name, got, err)
		}
		if test.o.Code == CodeOff && (cellhold.KindOf(err) != cellhold.Denied || !plan.MayBePresent()) { // an installed package is still an answer
			t.Errorf("%s: %v %v", name, err, plan.MayBePresent())
		}
	}
}

func TestANameOnTheAllowlistOfCodeIsNotReplaced(t *testing.T) {
	policy := Policy{Mode: Open, Allow: []string{"opencv-python", "scikit-learn"}}
	p, _ := folderPackages(t, Options{Policy: policy, Code: CodeAllowlist})
	for ask, want := range map[string]string{"opencv-python": "opencv-python", "sklearn": "scikit-learn"} {
		plan, err := p.PlanOfCode(Request{Requirements: []string{ask}}, new(Tally))
		if err != nil || len(plan.list) != 1 || plan.list[0].Name != want {
			t.Errorf("%s, of code: %v %+v", ask, err, plan.list)
		}
	}
	plan, err := p.Plan(Request{Requirements: []string{"opencv-python"}})
	if err != nil || plan.list[0].Name != "opencv-python-headless" {
		t.Errorf("of a caller: %v %+v", err, plan.list)
	}
}

func TestAnAnswerToCodeFitsIntoOneLine(t *testing.T) {
	var report cellhold.Installation
	for range 300 { // each character takes six bytes as JSON
		report.Warnings = append(report.Warnings, strings.Repeat("<", 4000))
	}
	d := ForCode(report, cellhold.Errorf(cellhold.Invalid, "%s", strings.Repeat("&", 9000)))
	line, err := json.Marshal(guestapi.CodeLine{Done: &d})
	if err != nil || len(line) >= guestapi.MaxCodeLine || len(d.Lines) < 5 || len(d.Error) != maxCodeLine {
		t.Errorf("%d bytes, %d lines, an error of %d bytes, %v", len(line), len(d.Lines), len(d.Error), err)
	}
}
