package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// These tests run the example that serve prints, and doctor, with a real server and the stock image. test/e2e tests
// the documents.

// imageHome returns a new home with the images of CELLHOLD_TEST_HOME. Its path is short, because gVisor creates
// sockets below it.
func imageHome(t *testing.T) string {
	t.Helper()
	images, err := filepath.Abs(filepath.Join(os.Getenv("CELLHOLD_TEST_HOME"), "images"))
	if err != nil || os.Getenv("CELLHOLD_TEST_HOME") == "" {
		t.Skip("CELLHOLD_TEST_HOME does not name a home with the stock image; make test does")
	}
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chmod(home, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(images, filepath.Join(home, "images")); err != nil {
		t.Fatal(err)
	}
	return home
}

// ourselves returns an environment with a cellhold on its PATH. That program is a script that runs this test binary.
func ourselves(t *testing.T, home string) (env []string, program string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "cellhold")
	// This is a script and not a link: called by the name cellhold, the test binary would use fakes.
	text := "#!/bin/sh\nCELLHOLD_TEST_REAL=1 exec '" + self + "' \"$@\"\n"
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CELLHOLD_HOME="+home)
	return env, program
}

// startReal starts a real server and returns its greeting.
func startReal(t *testing.T, env []string, program string) string {
	t.Helper()
	cmd := exec.Command(program, "--log-level", "warn", "serve", "--listen", "127.0.0.1:0", "--ephemeral")
	cmd.Env, cmd.Stderr = env, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v, want exit status 0", err)
		}
	})
	var greeting strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		greeting.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Stop it") {
			return greeting.String()
		}
	}
	t.Fatalf("the server printed %q, want a line that begins with Stop it", greeting.String())
	return ""
}

func sh(t *testing.T, env []string, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Env, cmd.Dir = env, dir
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, &problems)
	}
	return string(out)
}

func TestTheExampleThatServePrintsReturnsAnOutput(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	env, program := ourselves(t, imageHome(t))
	greeting := startReal(t, env, program)
	_, example, _ := strings.Cut(greeting, "Try it:\n")
	example, _, _ = strings.Cut(example, "Stop it")
	example = strings.ReplaceAll(example, "curl ", "curl --fail-with-body -sS ")
	if got := sh(t, env, t.TempDir(), example); !strings.Contains(got, `"output":"2"`) {
		t.Errorf("got %s, want \"output\":\"2\" in it", got)
	}
}

func TestTheDoctorReportsThatThisHostCanRunCellhold(t *testing.T) {
	env, program := ourselves(t, imageHome(t))
	got := sh(t, env, t.TempDir(), program+" doctor")
	for _, want := range []string{"This host can run cellhold.", "ok       a sandbox can be saved: ", "ok       saved sessions: ", "template python: "} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant %q in it", got, want)
		}
	}
	cmd := exec.Command(program, "doctor", "--image", "no-such-image")
	cmd.Env = env
	if out, err := cmd.Output(); err == nil || !strings.Contains(string(out), "fix: cellhold image build") {
		t.Errorf("with an unknown image: got %v and %s, want an error and the fix cellhold image build", err, out)
	}
}
