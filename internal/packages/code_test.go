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

func TestARequestOfCodeOpensThePackageFolderAtMostOnce(t *testing.T) {
	var list []string // import names that can belong to packages of other names
	for i := range 1000 {
		list = append(list, []string{"sklearn", "opencv-python", "json", "pip"}[i%4], "x")
	}
	for name, test := range map[string]struct {
		o    Options
		ask  []string
		most int
	}{
		"no package for code":     {Options{Policy: Policy{Mode: Open}, Code: CodeOff}, list, 0},
		"no package for callers":  {Options{Policy: Policy{Mode: Off}, Code: CodeCallers}, list, 0},
		"packages for callers":    {Options{Policy: Policy{Mode: Open}, Code: CodeCallers}, list, 1},
		"names without a synonym": {Options{Policy: Policy{Mode: Open}, Code: CodeCallers}, []string{"a1", "numpy", "x"}, 0},
	} {
		p, dir := folderPackages(t, test.o)
		opened := watch(t, dir)
		plan, err := p.PlanOfCode(Request{Requirements: test.ask}, new(Tally))
		if got := opened(); got != test.most {
			t.Errorf("%s: the folder was opened %d times, %v; want %d", name, got, err, test.most)
		}
		if test.o.Code == CodeOff && (cellhold.KindOf(err) != cellhold.Denied || !plan.MayBePresent()) { // an installed package is still reported
			t.Errorf("%s: got %v, MayBePresent %v; want kind denied, true", name, err, plan.MayBePresent())
		}
	}
}

func TestANameOnTheAllowlistIsNotReplacedForCode(t *testing.T) {
	policy := Policy{Mode: Open, Allow: []string{"opencv-python", "scikit-learn"}}
	p, _ := folderPackages(t, Options{Policy: policy, Code: CodeAllowlist})
	for ask, want := range map[string]string{"opencv-python": "opencv-python", "sklearn": "scikit-learn"} {
		plan, err := p.PlanOfCode(Request{Requirements: []string{ask}}, new(Tally))
		if err != nil || len(plan.list) != 1 || plan.list[0].Name != want {
			t.Errorf("%s for code: got %+v, %v; want %s", ask, plan.list, err, want)
		}
	}
	plan, err := p.Plan(Request{Requirements: []string{"opencv-python"}})
	if err != nil || plan.list[0].Name != "opencv-python-headless" {
		t.Errorf("opencv-python for a caller: got %+v, %v; want opencv-python-headless", plan.list, err)
	}
}

func TestAnAnswerToCodeIsShorterThanTheLimitOfALine(t *testing.T) {
	var report cellhold.Installation
	for range 300 { // each character takes six bytes as JSON
		report.Warnings = append(report.Warnings, strings.Repeat("<", 4000))
	}
	d := ForCode(report, cellhold.Errorf(cellhold.Invalid, "%s", strings.Repeat("&", 9000)))
	line, err := json.Marshal(guestapi.CodeLine{Done: &d})
	if err != nil || len(line) >= guestapi.MaxCodeLine || len(d.Lines) < 5 || len(d.Error) != maxCodeLine {
		t.Errorf("got %d bytes, %d lines, an error of %d bytes, %v; want less than %d, at least 5, and %d", len(line), len(d.Lines), len(d.Error), err, guestapi.MaxCodeLine, maxCodeLine)
	}
}
