package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runAsking runs `cellhold run` on a script, with or without a terminal, and returns its exit status and its
// output.
func runAsking(t *testing.T, source, input string, terminal bool) (int, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ask.py")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{binary(t), "--home", newHome(t), "run", file}
	if terminal {
		args = []string{"script", "-qec", strings.Join(args, " "), "/dev/null"} // script runs the command in a terminal
	}
	cmd := exec.Command(args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		return exit.ExitCode(), out.String()
	}
	return 0, out.String()
}

// getpass prints a warning if it cannot hide the secret.
func TestAScriptReadsInputAndSecretsFromTheTerminal(t *testing.T) {
	t.Parallel()
	const source = "import getpass\nname = input('Name? ')\nsecret = getpass.getpass('Secret: ')\nprint('got', name, len(secret))\n"
	status, out := runAsking(t, source, "Ann\nhush-hush\n", true)
	if status != 0 || !strings.Contains(out, "Name? ") || !strings.Contains(out, "got Ann 9") || strings.Contains(out, "Warning") {
		t.Errorf("got exit status %d and\n%s\nwant 0, \"got Ann 9\" and no warning", status, out)
	}
}

// After the end of the input, a question of the script is an error.
func TestAScriptWithoutATerminalReadsTheStandardInputAndKeepsItsExitStatus(t *testing.T) {
	t.Parallel()
	if status, out := runAsking(t, "print('got', input('Name? '))", "Ann\n", false); status != 0 || out != "Name? got Ann\n" {
		t.Errorf("input() without a terminal: got exit status %d and\n%s\nwant 0 and \"got Ann\"", status, out)
	}
	if status, out := runAsking(t, "input('Name? ')", "", false); status != 1 || !strings.HasSuffix(out, "EOFError: EOF when reading a line\n") {
		t.Errorf("input() at the end of the input: got exit status %d and\n%s\nwant 1 and EOFError", status, out)
	}
	if status, out := runAsking(t, "import os; os._exit(7)", "", false); status != 7 {
		t.Errorf("os._exit(7): got exit status %d and\n%s\nwant 7", status, out)
	}
	if status, out := runAsking(t, "import os; os._exit(0)", "", false); status != 0 {
		t.Errorf("os._exit(0): got exit status %d and\n%s\nwant 0", status, out)
	}
}
