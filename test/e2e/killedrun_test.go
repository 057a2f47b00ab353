package e2e

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// startScript starts `cellhold run`, and returns when the script has printed its first line. It returns the input and
// the output of the script.
func startScript(t *testing.T, home, source string) (cmd *exec.Cmd, in io.Writer, out *bufio.Reader) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "s.py")
	if err := os.WriteFile(script, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(binary(t), "--home", home, "run", script)
	in, inErr := cmd.StdinPipe()
	printed, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	out = bufio.NewReader(printed)
	if line, err := out.ReadString('\n'); err != nil {
		t.Fatalf("the script printed %q, %v; want a line", line, err)
	}
	return cmd, in, out
}

// killScript kills a `cellhold run`, and waits for the end of its sandbox in a folder of sandboxes.
func killScript(t *testing.T, cmd *exec.Cmd, run string) {
	t.Helper()
	of := onlySandbox(t, run)
	sentry, gofer := watchProcess(t, of.Sentry.PID), watchProcess(t, of.Gofer.PID)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the error says that it was killed
	sentry()
	gofer()
}

// After the kill, no program reads the output of the script. The script must end nevertheless.
func TestTheSandboxOfAKilledRunEndsAndTheNextProgramRemovesIt(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	const endless = "while True: print('x' * 1000)"
	first, second := filepath.Join(home, "once", "1", "run"), filepath.Join(home, "once", "2", "run")
	mustBeEmpty := func(dir string) {
		t.Helper()
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("got %v in %s, %v; want nothing", left, dir, err)
		}
	}
	alive, in, out := startScript(t, home, "print('begun', flush=True); print(input())")
	killed, _, _ := startScript(t, home, endless)
	killScript(t, killed, second)
	serve(t, home).signal(t, syscall.SIGTERM)
	mustBeEmpty(second)
	if _, err := io.WriteString(in, "well\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := out.ReadString('\n'); line != "well\n" || alive.Wait() != nil {
		t.Errorf("the script that was not killed printed %q, %v; want well and exit status 0", line, err)
	}

	one, _, _ := startScript(t, home, endless)
	two, _, _ := startScript(t, home, endless)
	killScript(t, two, second)
	killScript(t, one, first)
	if last, _, _ := startScript(t, home, "print('begun')"); last.Wait() != nil {
		t.Errorf("the next script ended with %v, want exit status 0", last.ProcessState)
	}
	mustBeEmpty(first)
	mustBeEmpty(second)
}
