package e2e

import (
	"cmp"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// pythonReport is the part of pytest's report in the form of JUnit that the test reads.
type pythonReport struct {
	Cases []struct {
		Class   string      `xml:"classname,attr"`
		Name    string      `xml:"name,attr"`
		Seconds string      `xml:"time,attr"`
		Failure *pythonText `xml:"failure"`
		Error   *pythonText `xml:"error"`
		Skipped *pythonText `xml:"skipped"`
	} `xml:"testsuite>testcase"`
}

// pythonText is the text of a failure.
type pythonText struct {
	Text string `xml:",chardata"`
}

// The tests of the package cellhold run against a server with real sandboxes, a package index and a web server. Each of
// them is a subtest here.
func TestThePythonPackage(t *testing.T) {
	t.Parallel()
	index, web := newPyPI(t), newInternetFixture(t)
	index.wheel(t, "tabulate", "0.9.0", nil)
	index.wheel(t, "humanize", "4.15.0", nil)
	s := serve(t, newHome(t), web.flags("--package-index", index.index(), "--max-egress", "allowlist", "--egress-host", "*.example.org")...)
	file := filepath.Join(t.TempDir(), "report.xml")
	cmd := exec.CommandContext(t.Context(), absolute(t, "build/pyvenv/bin/python"), "-m", "pytest", "--junitxml", file)
	cmd.Dir = absolute(t, "python")
	cmd.Env = append(os.Environ(), "CELLHOLD_HOME="+newHome(t), "CELLHOLD_TEST_URL="+s.url, "CELLHOLD_TEST_TOKEN="+s.token,
		"CELLHOLD_TEST_WEB=http://www.example.org:"+web.port, "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
	out, runErr := cmd.CombinedOutput()
	text, err := os.ReadFile(file)
	var report pythonReport
	if err == nil {
		err = xml.Unmarshal(text, &report)
	}
	if err != nil || len(report.Cases) == 0 {
		t.Fatalf("pytest ended with %v and no report (%v):\n%s", runErr, err, out)
	}
	failed := false
	for _, c := range report.Cases {
		t.Run(c.Class+"."+c.Name, func(t *testing.T) {
			t.Logf("%s s", c.Seconds)
			if c.Skipped != nil {
				t.Skip(c.Skipped.Text)
			}
			if problem := cmp.Or(c.Failure, c.Error); problem != nil {
				failed = true
				t.Error(problem.Text)
			}
		})
	}
	if runErr != nil && !failed {
		t.Errorf("pytest ended with %v:\n%s", runErr, out)
	}
}
