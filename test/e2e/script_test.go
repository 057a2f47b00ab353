package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Scripts are written for `python FILE`. What differs in a kernel must not be noticed by one that `run`
// runs: its arguments, its file, the processes it spawns, the event loop it brings, and what is still to come when
// its last line has run.
func TestAScriptFindsWhatPythonWouldGiveIt(t *testing.T) {
	t.Parallel()
	const source = `"""What the tool is for."""
import argparse, asyncio, atexit, multiprocessing, pathlib, sys, threading, time

def double(x):
    return 2 * x

async def main():
    await asyncio.sleep(0.01)
    return asyncio.current_task().get_name() != ""

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("-n", type=int)
    args = parser.parse_args()
    print("arguments:", args.name, args.n, sys.argv)
    here = pathlib.Path(__file__)
    print("file:", here, "def double" in here.read_text())
    loop = asyncio.get_event_loop()
    print("loop:", loop.run_until_complete(main()))
    loop.close()
    print("run:", asyncio.run(main()), asyncio.run(main()))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("spawned:", pool.map(double, [3]))
    print("doc:", __doc__)
    atexit.register(print, "at the end")
    def last():
        time.sleep(0.3)
        print("a thread ends")
    threading.Thread(target=last).start()
    sys.exit(5)
`
	file := filepath.Join(t.TempDir(), "tool.py")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), "--home", newHome(t), "run", file, "--timeout", "5m", `a "word" ü`, "-n", "3")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, _ := cmd.Output() // how it ended is looked at below
	const want = `arguments: a "word" ü 3 ['tool.py', 'a "word" ü', '-n', '3']
file: /workspace/tool.py True
loop: True
run: True True
spawned: [6]
doc: What the tool is for.
a thread ends
at the end
`
	if string(out) != want || problems.Len() > 0 || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("status %d\n%s%s", cmd.ProcessState.ExitCode(), out, &problems)
	}
}

// What only a kernel can do still works: a script may await at its top level. It has no file when it comes
// from the standard input.
func TestAScriptFromTheStandardInputMayAwait(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(binary(t), "--home", newHome(t), "run", "-", "--", "-x")
	cmd.Stdin = strings.NewReader("import asyncio, sys\nprint(await asyncio.sleep(0, 7), sys.argv, '__file__' in globals())\n")
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "7 ['-', '-x'] False\n" {
		t.Errorf("%v: %s", err, out)
	}
}
