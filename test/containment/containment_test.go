package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestEachAttackAndFaultIsListedOnceInOrder(t *testing.T) {
	for letter, items := range map[string][]item{"A": attacks, "F": faults} {
		for i, x := range items {
			if want := fmt.Sprintf("%s%d", letter, i+1); x.ID != want {
				t.Errorf("got %s, want %s", x.ID, want)
			}
		}
	}
	if len(attacks) != 64 || len(faults) != 27 {
		t.Errorf("got %d attacks and %d faults, want 64 and 27", len(attacks), len(faults))
	}
}

func TestEachAttackAndFaultHasTestsOrSaysWhatIsOpen(t *testing.T) {
	for _, x := range items() {
		if x.Title == "" || x.Expect == "" || len(x.Tests) == 0 && x.Open == "" {
			t.Errorf("%s: got %+v, want a title, an expected result, and tests or the open part", x.ID, x)
		}
	}
}

// TestEachNamedTestExists fails when a test gets another name, or moves.
func TestEachNamedTestExists(t *testing.T) {
	for pkg, tests := range byPackage(items()) {
		there, err := declaredTests("../../" + pkg)
		if err != nil {
			t.Error(err)
		}
		for _, test := range tests {
			if !slices.Contains(there, test) {
				t.Errorf("%s has no test %s", pkg, test)
			}
		}
	}
}

func TestANameHasAPackageAndATest(t *testing.T) {
	for name, want := range map[string][2]string{
		"client.TestX":                {"client", "TestX"},
		"internal/a/b.FuzzX":          {"internal/a/b", "FuzzX"},
		"test/hostile.TestX/A.4/rest": {"test/hostile", "TestX/A.4/rest"},
	} {
		if pkg, test := split(name); pkg != want[0] || test != want[1] {
			t.Errorf("%s: got %s and %s, want %v", name, pkg, test, want)
		}
	}
}

func TestAVerdictIsThatOfTheWorstTest(t *testing.T) {
	for _, test := range []struct {
		results []result
		open    string
		want    string
	}{
		{[]result{"pass", "pass"}, "", held},
		{[]result{"pass"}, "a part", partly},
		{nil, "all of it", open},
		{[]result{"pass", "skip"}, "", notRun},
		{[]result{"skip", "fail"}, "", failed},
		{[]result{"pass", ""}, "", failed},
	} {
		tests := map[string]result{}
		for i, r := range test.results {
			tests[fmt.Sprint(i)] = r
		}
		if got := judge(item{Open: test.open}, tests); got != test.want {
			t.Errorf("%q with %q open: got %s, want %s", test.results, test.open, got, test.want)
		}
	}
}

func TestAPageShowsOpenItemsBeforeTheTables(t *testing.T) {
	results := map[string]result{}
	for _, x := range items() {
		for _, name := range x.Tests {
			results[name] = "pass"
		}
	}
	results["test/hostile.TestAttacks/A5"] = "fail"
	p := newPage([]fact{{"Kernel", "Linux|x"}}, results)
	text := p.markdown()
	if !p.failed() || !strings.Contains(text, "- **A5** ") || !strings.Contains(text, "`test/hostile.TestAttacks/A5`: fail") || !strings.Contains(text, `| Kernel | Linux\|x |`) {
		t.Errorf("the failure or the host is missing:\n%s", text)
	}
	if strings.Index(text, "## Open items") > strings.Index(text, "## Attacks") {
		t.Error("the tables come first, want the open items first")
	}
}

func TestResultsAreReadFromTheOutputOfGoTest(t *testing.T) {
	results := map[string]result{}
	in := strings.NewReader(`{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"x\n"}
{"Action":"pass","Test":"TestA/one"}
not JSON
{"Action":"skip","Test":"TestB"}
{"Action":"fail","Test":"TestC"}
`)
	if err := readResults("p", in, results); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(results) != "map[p.TestA/one:pass p.TestB:skip p.TestC:fail]" {
		t.Errorf("got %v", results)
	}
}
