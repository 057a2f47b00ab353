package e2e

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// nodeReport is the part of Node's report in the form of JUnit that the test reads.
type nodeReport struct {
	Cases []struct {
		Name    string      `xml:"name,attr"`
		Seconds string      `xml:"time,attr"`
		Failure *pythonText `xml:"failure"`
		Skipped *pythonText `xml:"skipped"`
	} `xml:"testcase"`
}

// builtTests returns the compiled tests of the package.
func builtTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../build/tstests/tests/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("the tests of the package are not compiled (%v); run: make typescript", err)
	}
	for i, file := range files {
		if files[i], err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// The tests of the package cellhold run in Node, against a server with real sandboxes, a package index and a web server.
// Each of them is a subtest here.
func TestTheTypeScriptPackage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"--test", "--test-reporter=junit", "--test-reporter-destination=" + file}, builtTests(t)...)
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir, cmd.Env = absolute(t, "ts"), packageServer(t)
	out, runErr := cmd.CombinedOutput()
	text, err := os.ReadFile(file)
	var report nodeReport
	if err == nil {
		err = xml.Unmarshal(text, &report)
	}
	if err != nil || len(report.Cases) == 0 {
		t.Fatalf("node ended with %v and no report (%v):\n%s\n%s", runErr, err, out, text)
	}
	failed := false
	for _, c := range report.Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Logf("%s s", c.Seconds)
			if c.Skipped != nil {
				t.Skip(c.Skipped.Text)
			}
			if c.Failure != nil {
				failed = true
				t.Error(c.Failure.Text)
			}
		})
	}
	if runErr != nil && !failed {
		t.Errorf("node ended with %v:\n%s\n%s", runErr, out, text)
	}
}
