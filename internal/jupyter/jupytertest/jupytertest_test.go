package jupytertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cellhold/internal/jupyter"
)

// session is a program that uses jupyter_client in a typical way. It prints the messages that it receives.
const session = `
import sys
from jupyter_client import BlockingKernelClient

c = BlockingKernelClient(connection_file=sys.argv[1])
c.load_connection_file()
c.start_channels(hb=False)
c.wait_for_ready(timeout=30)
print("language", c.kernel_info(reply=True, timeout=30)["content"]["language_info"]["name"])
for code in ["import pandas as pd", "set x 41", "add x 1\nprint hello\nget x", "get y", "flood 50", "nonsense"]:
    seen = []
    reply = c.execute_interactive(code, timeout=30, output_hook=lambda m: seen.append(m["msg_type"]))
    print(reply["content"]["status"], len(seen), sorted(set(seen)))
c.shutdown()
c.stop_channels()
`

// The toy kernel must work with the reference client too, not only with the client of this project.
func TestTheReferenceClientAcceptsTheToyKernel(t *testing.T) {
	python := os.Getenv("CELLHOLD_TEST_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", "..", "build", "testvenv", "bin", "python")
	}
	if _, err := os.Stat(python); err != nil {
		t.Skipf("no Python with jupyter_client: %v (see test/requirements.txt)", err)
	}
	dir := t.TempDir()
	conn := jupyter.NewConnection(filepath.Join(dir, "k"))
	file := filepath.Join(dir, "c.json")
	if err := conn.WriteFile(file, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := Start(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	out, err := exec.Command(python, "-c", session, file).CombinedOutput()
	// every cell sends busy, execute_input and idle
	want := strings.Join([]string{
		"language toy",
		"ok 3 ['execute_input', 'status']",
		"ok 3 ['execute_input', 'status']",
		"ok 5 ['execute_input', 'execute_result', 'status', 'stream']",
		"error 4 ['error', 'execute_input', 'status']",
		"ok 53 ['display_data', 'execute_input', 'status']",
		"error 4 ['error', 'execute_input', 'status']",
	}, "\n")
	if err != nil || strings.TrimSpace(string(out)) != want {
		t.Fatalf("%v\ngot\n%s\nwant\n%s", err, out, want)
	}
	if code, signal := k.Wait(); code != 0 || signal != 0 {
		t.Fatalf("the kernel ended with %d, %d after a shutdown", code, signal)
	}
}
