package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// These tests run the commands of the documents, with a real server and the stock image.

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

// ourselves returns an environment in which cellhold is this test binary.
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
			t.Errorf("the server ended with an error: %v", err)
		}
	})
	var greeting strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		greeting.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Stop it") {
			return greeting.String()
		}
	}
	t.Fatal("the server did not start")
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

func TestWhatPeopleAreToldToPasteWorks(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	env, program := ourselves(t, imageHome(t))
	greeting := startReal(t, env, program)
	dir := t.TempDir()

	t.Run("the example of serve", func(t *testing.T) {
		_, example, _ := strings.Cut(greeting, "Try it:\n")
		example, _, _ = strings.Cut(example, "Stop it")
		example = strings.ReplaceAll(example, "curl ", "curl --fail-with-body -sS ")
		if got := sh(t, env, dir, example); !strings.Contains(got, `"output":"2"`) {
			t.Errorf("got %s", got)
		}
	})

	url := regexp.MustCompile(`URL +http://(\S+)`).FindStringSubmatch(greeting)[1]
	token := regexp.MustCompile(`Token +(\S+)`).FindStringSubmatch(greeting)[1]
	analysis := "import pandas as pd\nimport matplotlib.pyplot as plt\nplt.plot([1, 4, 9]); plt.show()\nprint(pd.Series([1, 2, 3]).sum())\n"
	if err := os.WriteFile(filepath.Join(dir, "analysis.py"), []byte(analysis), 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(env, "TOKEN="+token, "URL=http://"+url, "CELLHOLD_URL=http://"+url)
	pasteAll(t, env, dir, url, "README.md", `"output":"42"`, "6\n")
	if head, err := os.ReadFile(filepath.Join(dir, "analysis-1.png")); err != nil || !strings.HasPrefix(string(head), "\x89PNG") {
		t.Errorf("the figure cannot be read: %v", err)
	}

	if err := os.Mkdir(filepath.Join(dir, "project"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.pt"), []byte("weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	made := sh(t, env, dir, `curl --fail-with-body -sS "$URL/v1/sessions" -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d "{}"`)
	id := regexp.MustCompile(`"id":"(s[^"]+)"`).FindStringSubmatch(made)
	if id == nil {
		t.Fatalf("cannot create a session: %s", made)
	}
	pasteAll(t, append(env, "ID="+id[1]), dir, url, "docs/api.md", `"text/plain":"42"`, "event: kernel_state", "", "42\n")
	if got, err := os.ReadFile(filepath.Join(dir, "models", "model.pt")); err != nil || string(got) != "weights" {
		t.Errorf("the copied file has %q (%v)", got, err)
	}
}

// pasteAll runs the commands of a document in order, and checks the output of each.
func pasteAll(t *testing.T, env []string, dir, url, document string, wants ...string) {
	t.Helper()
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh test\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != len(wants) {
		t.Fatalf("%s has %d blocks to test, want %d", document, len(blocks), len(wants))
	}
	// An event stream has no end, so curl stops after some seconds and reports it.
	told := strings.NewReplacer("localhost:5002", url, "curl -s ", "curl ", "curl -N ", "curl -N --max-time 5 ")
	for i, block := range blocks {
		t.Run(document, func(t *testing.T) {
			script := strings.ReplaceAll(told.Replace(block[1]), "curl ", "curl --fail-with-body -sS ")
			if strings.Contains(script, "--max-time") {
				script = "(" + strings.TrimSpace(script) + ") || [ $? -eq 28 ]"
			}
			if got := sh(t, env, dir, script); !strings.Contains(got, wants[i]) {
				t.Errorf("got %s, want %s", got, wants[i])
			}
		})
	}
}

func TestTheDoctorKnowsThisHost(t *testing.T) {
	env, program := ourselves(t, imageHome(t))
	got := sh(t, env, t.TempDir(), program+" doctor")
	for _, want := range []string{"This host can run cellhold.", "ok       a sandbox can be saved: ", "ok       saved sessions: ", "template python: "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	cmd := exec.Command(program, "doctor", "--image", "no-such-image")
	cmd.Env = env
	if out, err := cmd.Output(); err == nil || !strings.Contains(string(out), "mend it: cellhold image build") {
		t.Errorf("without the image: %v, %s", err, out)
	}
}
