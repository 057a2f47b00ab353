package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The verdicts of an item.
const (
	held   = "held"         // all tests passed, and they show all
	partly = "held in part" // all tests passed, and something is open
	open   = "open"         // no test
	failed = "FAILED"       // a test failed or did not run
	notRun = "skipped"      // a test was skipped
)

// page has the results of one run.
type page struct {
	Host    []fact    `json:"host"`
	Attacks []verdict `json:"attacks"`
	Faults  []verdict `json:"faults"`
}

// fact is one line about the host.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// verdict is the result of one item.
type verdict struct {
	ID      string            `json:"id"`
	Title   string            `json:"title"`
	Expect  string            `json:"expect"`
	Verdict string            `json:"verdict"`
	Open    string            `json:"open,omitempty"`
	Tests   map[string]result `json:"tests,omitempty"`
}

func newPage(host []fact, results map[string]result) page {
	return page{Host: host, Attacks: verdicts(attacks, results), Faults: verdicts(faults, results)}
}

func verdicts(items []item, results map[string]result) []verdict {
	var all []verdict
	for _, x := range items {
		v := verdict{ID: x.ID, Title: x.Title, Expect: x.Expect, Open: x.Open, Tests: map[string]result{}}
		for _, test := range x.Tests {
			v.Tests[test] = results[test]
		}
		v.Verdict = judge(x, v.Tests)
		all = append(all, v)
	}
	return all
}

// judge returns the verdict of an item from the results of its tests.
func judge(x item, tests map[string]result) string {
	skipped := false
	for _, r := range tests {
		switch r {
		case "pass":
		case "skip":
			skipped = true
		default:
			return failed
		}
	}
	switch {
	case skipped:
		return notRun
	case len(tests) == 0:
		return open
	case x.Open != "":
		return partly
	}
	return held
}

func (p page) all() []verdict { return slices.Concat(p.Attacks, p.Faults) }

func (p page) failed() bool {
	for _, v := range p.all() {
		if v.Verdict == failed {
			return true
		}
	}
	return false
}

// summary says how many items have each verdict.
func (p page) summary() string {
	count := map[string]int{}
	for _, v := range p.all() {
		count[v.Verdict]++
	}
	var parts []string
	for _, name := range []string{failed, notRun, open, partly, held} {
		if count[name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[name], name))
		}
	}
	return fmt.Sprintf("%d attacks and %d faults: %s.", len(p.Attacks), len(p.Faults), strings.Join(parts, ", "))
}

func (p page) json() string {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic(err) // the types have no value that JSON lacks
	}
	return string(b) + "\n"
}

func (p page) markdown() string {
	var b strings.Builder
	b.WriteString("# Containment\n\nThis page has the result of each known attack and fault on this host. Each result is that of tests.\n`docs/explanation/threat-model.md` says who is trusted and which attacks cellhold does not stop.\n\n")
	fmt.Fprintf(&b, "**%s**\n\n| | |\n|---|---|\n", p.summary())
	for _, f := range p.Host {
		fmt.Fprintf(&b, "| %s | %s |\n", f.Name, escape(f.Value))
	}
	p.attention(&b)
	table(&b, "Attacks", p.Attacks)
	table(&b, "Faults", p.Faults)
	return b.String()
}

// attention lists all items that did not hold completely.
func (p page) attention(b *strings.Builder) {
	b.WriteString("\n## Open items\n\n")
	for _, v := range p.all() {
		if v.Verdict == held {
			continue
		}
		fmt.Fprintf(b, "- **%s** %s: %s", v.ID, v.Title, v.Verdict)
		if v.Open != "" {
			fmt.Fprintf(b, "; %s", v.Open)
		}
		b.WriteString(".\n")
		for _, test := range slices.Sorted(maps.Keys(v.Tests)) {
			if r := v.Tests[test]; r != "pass" {
				fmt.Fprintf(b, "  - `%s`: %s\n", test, orMissing(r))
			}
		}
	}
}

func orMissing(r result) string {
	if r == "" {
		return "did not run"
	}
	return r
}

func table(b *strings.Builder, title string, all []verdict) {
	fmt.Fprintf(b, "\n## %s\n\n| | Attack or fault | Expected | Result | Tests |\n|---|---|---|---|---|\n", title)
	for _, v := range all {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %d |\n", v.ID, escape(v.Title), escape(v.Expect), v.Verdict, len(v.Tests))
	}
}

// escape returns text for one column of a table.
func escape(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}

// host returns the facts about this machine and this build.
func host() []fact {
	return []fact{
		{"Date", time.Now().UTC().Format("2006-01-02")},
		{"cellhold", commandOutput("build/bin/cellhold", "version")},
		{"Kernel", commandOutput("uname", "-srm")},
		{"Distribution", distribution()},
		{"User", fmt.Sprintf("uid %d", os.Geteuid())},
		{"Go", runtime.Version()},
	}
}

func commandOutput(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.TrimSpace(string(out))
}

func distribution() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return "unknown"
}
