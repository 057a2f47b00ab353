package e2e

import (
	"bytes"
	"cmp"
	"crypto/sha256"
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

// packageServer starts a server for the tests of a package: with real sandboxes, a package index and a web server. It
// returns the environment in which the tests find them.
func packageServer(t *testing.T) []string {
	t.Helper()
	index, web := newPyPI(t), newInternetFixture(t)
	index.wheel(t, "example", "1.0", nil)
	index.wheel(t, "humanize", "4.15.0", nil)
	s := serve(t, newHome(t), web.flags("--package-index", index.index(), "--max-egress", "allowlist", "--egress-host", "*.example.org")...)
	return []string{"CELLHOLD_HOME=" + newHome(t), "CELLHOLD_TEST_URL=" + s.url, "CELLHOLD_TEST_TOKEN=" + s.token,
		"CELLHOLD_TEST_WEB=http://www.example.org:" + web.port, "PATH=" + filepath.Dir(binary(t)) + ":" + os.Getenv("PATH")}
}

// The tests of the package cellhold run against a server with real sandboxes, a package index and a web server. Each of
// them is a subtest here.
func TestThePythonPackage(t *testing.T) {
	t.Parallel()
	runPytest(t, "build/pyvenv/bin/python", packageServer(t))
}

// The adapters run in the real frameworks, with models that follow a script. Each framework draws the plot of the demo.
func TestTheAdaptersOfFrameworks(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	penguins, err := os.ReadFile(absolute(t, "demo/data/penguins.csv"))
	if err == nil {
		err = os.Mkdir(filepath.Join(home, "data"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "data", "penguins.csv"), penguins, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, home, "--no-templates=false") // the first sessions do not wait for the template
	runPytest(t, "build/adaptervenv/bin/python", []string{"CELLHOLD_URL=" + s.url, "CELLHOLD_TOKEN=" + s.token, "HOME=" + t.TempDir()},
		"tests_adapters", "--override-ini", "filterwarnings=default") // warnings in the frameworks are theirs
}

// runPytest runs the tests of the folder python in an environment. Each of them is a subtest.
func runPytest(t *testing.T, python string, env []string, args ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.xml")
	cmd := exec.CommandContext(t.Context(), absolute(t, python), append([]string{"-m", "pytest", "--junitxml", file}, args...)...)
	cmd.Dir = absolute(t, "python")
	cmd.Env = append(os.Environ(), env...)
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

// pythonPlot draws the plot of the demo in a private server, and saves it.
const pythonPlot = `
import cellhold, pathlib, sys
demo = pathlib.Path(sys.argv[1])
with cellhold.Session(local=True) as s:
    s.files.upload(demo / "data" / "penguins.csv")
    for file in sorted((demo / "cells").glob("*.py")):
        cell = s.run(file.read_text().replace("/mnt/data/penguins", "penguins"))
    cell.figures[0].save(sys.argv[2])
`

// The wheels bring the program and the client into a new environment, which has nothing else of this repository. Wheels
// of the same sources have the same bytes.
func TestTheWheelsDrawAPlotInANewEnvironment(t *testing.T) {
	t.Parallel()
	folders := []string{t.TempDir(), t.TempDir()}
	var wheels [2][]byte
	for i, folder := range folders {
		command(t, nil, absolute(t, "tools/wheels"), absolute(t, "build/pyvenv/bin/python"), binary(t), folder)
		names, err := filepath.Glob(folder + "/*.whl")
		if err != nil || len(names) != 2 {
			t.Fatalf("got the wheels %v, %v; want 2", names, err)
		}
		sums := sha256.New()
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sums.Write(text)
		}
		wheels[i] = sums.Sum(nil)
	}
	if !bytes.Equal(wheels[0], wheels[1]) {
		t.Error("two builds of the wheels differ, want the same bytes")
	}
	venv, plot := filepath.Join(t.TempDir(), "venv"), filepath.Join(t.TempDir(), "plot.png")
	command(t, nil, "python3", "-m", "venv", venv)
	command(t, nil, venv+"/bin/pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "--no-index",
		"--find-links", folders[0], "--find-links", absolute(t, "build/pywheels"), "cellhold[server]")
	env := []string{"PATH=/usr/bin:/bin", "CELLHOLD_HOME=" + newHome(t)}
	command(t, env, venv+"/bin/cellhold", "version")
	command(t, env, venv+"/bin/python", "-c", pythonPlot, absolute(t, "demo"), plot)
	if text, err := os.ReadFile(plot); err != nil || !bytes.HasPrefix(text, []byte("\x89PNG")) {
		t.Errorf("got a plot of %d bytes, %v; want a PNG", len(text), err)
	}
}

// command runs a program, which must succeed. Without env, it has the environment of the test.
func command(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
