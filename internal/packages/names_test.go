package packages

import (
	"context"
	"io"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

func TestImportNamesBecomePackageNames(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	owned := func(name string) bool { return name == "serial" }
	for text, want := range map[string]string{
		"sklearn": "scikit-learn", "sklearn[x]>=1.2": "scikit-learn[x]>=1.2", "sklearn==0.0.post1": "scikit-learn",
		"cv2": "opencv-python-headless", "opencv-python==4.10.0.84": "opencv-python-headless==4.10.0.84",
		"PIL": "pillow", "bs4": "beautifulsoup4", "yaml": "pyyaml", "docx": "python-docx", "skimage": "scikit-image",
		"dotenv": "python-dotenv", "Crypto": "pycryptodome", "fitz": "pymupdf", "dateutil": "python-dateutil",
		"pkg_resources": "setuptools", "numpy": "numpy", "scikit_learn": "scikit-learn",
		"serial":                           "serial", // not pyserial: the operator pins this name, or has it in a package folder
		"opencv-python==1.0 --hash=" + sum: "opencv-python==1.0 --hash=" + sum,
		`yaml>=5; python_version >= "3.9"`: `pyyaml>=5 ; python_version >= "3.9"`,
		"json":                             "", "sqlite3": "", "concurrent.futures": "", "dataclasses==0.8": "", "pip": "", "uv>=0.1": "",
	} {
		q, err := ParseRequirement(text)
		if err != nil {
			t.Fatal(err)
		}
		r := resolve([]Requirement{q}, owned)
		got := ""
		if len(r.list) > 0 {
			got = r.list[0].String()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		if changed := want == "" || r.list[0].Name != q.Name; changed != (len(r.notes) == 1) {
			t.Errorf("%s: got the notes %q, want 1 for a changed name: %t", text, r.notes, changed)
		}
	}
}

func TestADependencyThatNeedsAScreenCausesAWarning(t *testing.T) {
	plan := Plan{resolved: resolved{list: []Requirement{{Name: "reader"}}}}
	report := plan.report(guestapi.Installed{Changes: []guestapi.PackageChange{{Name: "opencv-python", After: "4"}, {Name: "reader", After: "1"}}})
	if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "install opencv-python-headless too") {
		t.Errorf("got the warnings %q; want one about opencv-python-headless", report.Warnings)
	}
}

// installedGuest is a sandbox that reports every package as already installed. An installation panics.
type installedGuest struct{}

func (*installedGuest) LookPackages(_ context.Context, in guestapi.Install) (guestapi.Installed, error) {
	return guestapi.Installed{Named: []guestapi.PackageChange{{Name: in.Names[0], Before: "1", After: "1"}}}, nil
}
func (*installedGuest) InstallPackages(context.Context, guestapi.Install) (guestapi.Installed, error) {
	panic("unexpected call")
}
func (*installedGuest) NextAsk(context.Context) (guestapi.Question, bool, error) {
	panic("unexpected call")
}
func (*installedGuest) AnswerAsk(context.Context, int64, int, string, int64, io.Reader) error {
	panic("unexpected call")
}

func TestInstalledPackagesAreReportedEvenIfThePolicyAllowsNoInstallation(t *testing.T) {
	for _, o := range []Options{{Policy: Policy{Mode: Off}}, {Policy: Policy{Mode: Allowlist}}, {Policy: Policy{Mode: Hashes}}, {Policy: Policy{Mode: Open}}} {
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := p.Plan(Request{Requirements: []string{"sklearn>=1", "json"}})
		if kind := cellhold.KindOf(err); kind != cellhold.Denied && kind != cellhold.Unavailable || !plan.MayBePresent() {
			t.Fatalf("%s: got the plan %+v, %v; want kind denied or unavailable, and MayBePresent true", o.Policy.Mode, plan, err)
		}
		report, all := p.Present(t.Context(), new(installedGuest), plan)
		if !all || len(report.Present) != 1 || report.Present[0].Name != "scikit-learn" || len(report.Warnings) != 2 || len(report.Imports) == 0 || report.Imports[0] != "json" {
			t.Errorf("%s: got %+v, all %t; want scikit-learn present, 2 warnings, the import json, all true", o.Policy.Mode, report, all)
		}
		if plan, err = p.Plan(Request{Requirements: []string{"json"}}); err != nil {
			t.Errorf("%s: plan of a module of the standard library: got %v, want no error", o.Policy.Mode, err)
		}
		if report, _, err = p.Install(t.Context(), new(installedGuest), plan); err != nil || len(report.Changes) > 0 {
			t.Errorf("%s: installation of a module of the standard library: got %+v, %v; want 0 changes", o.Policy.Mode, report, err)
		}
	}
}

func TestCodeIsDeniedPackagesThatThePolicyDoesNotAllow(t *testing.T) {
	kind := func(code CodeMode, policy Policy, tally *Tally, names ...string) cellhold.Kind {
		p, err := New(Options{Policy: policy, Code: code})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.PlanOfCode(Request{Requirements: names}, tally)
		if err == nil {
			return ""
		}
		return cellhold.KindOf(err)
	}
	open := Policy{Mode: Open, Allow: []string{"a"}}
	for i, got := range []cellhold.Kind{
		kind(CodeCallers, Policy{Mode: Off}, new(Tally), "a"),
		kind(CodeAllowlist, Policy{Mode: Off, Allow: []string{"a"}}, new(Tally), "a"),
		kind(CodeCallers, Policy{Mode: Allowlist}, new(Tally), "a"),
	} {
		if got != cellhold.Denied {
			t.Errorf("case %d: got kind %q, want denied", i, got)
		}
	}
	// Unavailable means that the policy allows the request: this test has no index.
	if got := kind(CodeCallers, open, new(Tally), "a"); got != cellhold.Unavailable {
		t.Errorf("a package that callers can install: got kind %q, want unavailable", got)
	}
	p := &Packages{Options{Policy: open, Code: CodeAllowlist}}
	if err := p.checkCode([]Requirement{{Name: "b"}}); cellhold.KindOf(err) != cellhold.Denied {
		t.Errorf("a package that is not on the allowlist: got %v, want kind denied", err)
	}
}
