package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// scriptResult has the output and the exit status of a script.
type scriptResult struct {
	out, err string
	status   int
}

// runScript writes files into a directory, and runs `cellhold run` there.
func runScript(t *testing.T, dir string, files map[string]string, in io.Reader, args ...string) scriptResult {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary(t), append([]string{"--home", newHome(t), "run", "--timeout", "5m"}, args...)...)
	var out, problems bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, in, &out, &problems
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return scriptResult{out.String(), problems.String(), cmd.ProcessState.ExitCode()}
}

// The script uses features of `python FILE`: arguments, files, child processes, its own event loop, and a thread
// that works after the last line. The value of the last line must not be shown.
func TestAScriptRunsAsWithPython(t *testing.T) {
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
    parser.add_argument("--n", type=int)
    args = parser.parse_args()
    print("arguments:", args.name, args.n, sys.argv)
    here = pathlib.Path(__file__)
    print("file:", here, "def double" in here.read_text(), sys.path[0])
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
5
`
	got := runScript(t, t.TempDir(), map[string]string{"tool.py": source}, nil, "tool.py", "--n", "3", `a "word" ü`)
	const want = `arguments: a "word" ü 3 ['tool.py', '--n', '3', 'a "word" ü']
file: /workspace/tool.py True /workspace
run: True True
spawned: [6]
doc: What the tool is for.
a thread ends
at the end
`
	if got != (scriptResult{want, "", 5}) {
		t.Errorf("got %+v, want exit status 5 and\n%s", got, want)
	}
}

func TestAScriptReadsItsStandardInputByLinesAndBytes(t *testing.T) {
	t.Parallel()
	const source = `import fileinput, subprocess, sys
for line in sys.stdin:
    print(repr(line))
    break
print(input("name? "))
with fileinput.input("-") as lines:
    print([next(lines), next(lines)])
`
	got := runScript(t, t.TempDir(), map[string]string{"lines.py": source}, strings.NewReader("one\ntwo\nthree\n\xff\x00x"), "lines.py")
	if want := "'one\\n'\nname? two\n['three\\n', '\\udcff\\x00x']\n"; got != (scriptResult{want, "", 0}) {
		t.Errorf("the script that reads lines gave %+v, want exit status 0 and %q", got, want)
	}
	const raw = `import os, subprocess
print(len(os.read(0, 4)), len(open("/dev/stdin", "rb", buffering=0).read(6)), flush=True)
print(int(subprocess.run(["wc", "-c"], capture_output=True).stdout), open(0).read() == "")
`
	got = runScript(t, t.TempDir(), map[string]string{"raw.py": raw}, strings.NewReader(strings.Repeat("x", 30)), "raw.py")
	if got != (scriptResult{"4 6\n20 True\n", "", 0}) {
		t.Errorf("the script that reads bytes gave %+v, want exit status 0, 4 6 and 20 True", got)
	}
}

func TestLongBinaryInputReachesAScriptCompletely(t *testing.T) {
	t.Parallel()
	const size = 20 << 20 // larger than each buffer between the caller and the script
	const source = `import hashlib, sys
h, n = hashlib.sha256(), 0
while b := sys.stdin.buffer.read(1 << 20):
    h.update(b); n += len(b)
print(n, h.hexdigest())
`
	sum := sha256.New()
	got := runScript(t, t.TempDir(), map[string]string{"sum.py": source}, io.TeeReader(io.LimitReader(rand.Reader, size), sum), "sum.py")
	if want := "20971520 " + hex.EncodeToString(sum.Sum(nil)) + "\n"; got != (scriptResult{want, "", 0}) {
		t.Errorf("the script gave %+v, want exit status 0 and %s", got, want)
	}
}

func TestEndlessInputDoesNotDelayTheEndOfAScript(t *testing.T) {
	t.Parallel()
	silent, stay, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	defer stay.Close()
	if got := runScript(t, t.TempDir(), map[string]string{"s.py": "print(1)"}, silent, "s.py"); got != (scriptResult{"1\n", "", 0}) {
		t.Errorf("a pipe without data: got %+v, want 1 and exit status 0", got)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	if got := runScript(t, t.TempDir(), map[string]string{"s.py": "import sys; print(len(sys.stdin.read(5)))"}, zero, "s.py"); got != (scriptResult{"5\n", "", 0}) {
		t.Errorf("/dev/zero: got %+v, want 5 and exit status 0", got)
	}
}

// The messages and exit statuses must equal those of Python, because other programs read them.
func TestAScriptFailsAsWithPython(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		source, err string
		status      int
	}{
		"trace.py": {"def f():\n    return 1 / 0\n\nf()\n", `Traceback (most recent call last):
  File "/workspace/trace.py", line 4, in <module>
    f()
    ~^^
  File "/workspace/trace.py", line 2, in f
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero
`, 1},
		"syntax.py": {"def f(:\n", "  File \"/workspace/syntax.py\", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax\n", 1},
		"exit.py":   {"exit(3)\n", "", 3},
		"word.py":   {"import sys\nsys.exit('no luck')\n", "no luck\n", 1},
		"killed.py": {"import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "", 137},
		"fail.sh":   {"#!/bin/bash\necho \"$0 $1\" >&2\nexit 4\n", "fail.sh --n\n", 4},
		"tool":      {"#!/usr/bin/env python3\nimport sys\nsys.exit(sys.argv[1:] == ['--n'] and 6)\n", "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := runScript(t, t.TempDir(), map[string]string{name: x.source}, nil, name, "--n"); got != (scriptResult{"", x.err, x.status}) {
				t.Errorf("got %+v, want exit status %d and on stderr\n%s", got, x.status, x.err)
			}
		})
	}
}

func TestAScriptCanComeFromTheStandardInput(t *testing.T) {
	t.Parallel()
	got := runScript(t, t.TempDir(), nil, strings.NewReader("import sys\nprint(sys.argv)\n1 / 0\n"), "-", "-x")
	if got.out != "['-', '-x']\n" || got.status != 1 || !strings.Contains(got.err, `File "<stdin>", line 3, in <module>`) {
		t.Errorf("the script from the standard input gave %+v, want its arguments, exit status 1 and a traceback of line 3", got)
	}
}

func TestFilesAndFiguresOfAScriptAreSavedAndReplaceNoFile(t *testing.T) {
	t.Parallel()
	const source = `import os, sys
import matplotlib.pyplot as plt
from IPython.display import Image, display
print(open("data.csv").read(), open("sub/more.csv").read())
open("data.csv", "a").write("changed")
open("new.txt", "w").write("new")
open("mine.txt", "w").write("of the script")
open(".bashrc", "w").write("evil")
open("link/inside.txt", "w").write("through a link") if os.makedirs("link") is None else 0
os.symlink("/etc/passwd", "password")
os.mkfifo("pipe")
open("bell\a", "w").write("x")
open("/mnt/data/output/kept.txt", "w").write("kept")
plt.plot([1, 2]); plt.show()
plt.plot([2, 1]); plt.savefig("plot.png")
display(Image("plot.png"))
`
	dir := t.TempDir()
	elsewhere := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.Symlink(elsewhere, filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"s.py": source, "data.csv": "given", "sub/more.csv": "more", "mine.txt": "of the user"}
	got := runScript(t, dir, files, nil, "--files", "data.csv", "--files", "sub", "s.py")
	if got.status != 0 || got.out != "given more\n" {
		t.Fatalf("the script gave %+v, want \"given more\" and exit status 0", got)
	}
	for name, want := range map[string]string{
		"data.csv": "given", "mine.txt": "of the user", "new.txt": "new",
		"s-output/data.csv": "givenchanged", "s-output/mine.txt": "of the script", "s-output/.bashrc": "evil",
		"s-output/link/inside.txt": "through a link", "s-output/kept.txt": "kept",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v; want %q", name, b, err, want)
		}
	}
	for _, name := range []string{"s-1.png", "s-2.png", "plot.png"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.HasPrefix(b, []byte("\x89PNG")) {
			t.Errorf("%s: got %.20q, %v; want a PNG file", name, b, err)
		}
	}
	for _, want := range []string{`not kept: "password": it is a symbolic link`, `not kept: "pipe": it is not a regular file`, `not kept: "bell\a": its name contains control characters`} {
		if !strings.Contains(got.err, want) {
			t.Errorf("cellhold does not report %s: %s", want, got.err)
		}
	}
	if left, _ := os.ReadDir(elsewhere); len(left) > 0 {
		t.Errorf("got the files %v in the target of the user's link, want 0", left)
	}
}

// A sparse file of 1 TiB needs no space in the guest, and would fill the disk of the host.
func TestATooLargeOutputFileOfAScriptIsNotKept(t *testing.T) {
	t.Parallel()
	const source = `import os
os.truncate("big", 1 << 40) if open("big", "w").close() is None else 0
open("small", "w").write("x")
`
	dir := t.TempDir()
	got := runScript(t, dir, map[string]string{"s.py": source}, nil, "--output", "out", "s.py")
	if _, err := os.Stat(filepath.Join(dir, "out/big")); got.status != 0 || err == nil || !strings.Contains(got.err, `not kept: "big"`) {
		t.Errorf("got %+v and %v for the file big, want exit status 0, no file and a note", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "out/small")); err != nil || string(b) != "x" {
		t.Errorf("the file small is %q, %v; want x", b, err)
	}
}

func TestANotebookRunsAsAScriptAndIsSavedWithItsOutputs(t *testing.T) {
	t.Parallel()
	const book = `{"nbformat":4,"nbformat_minor":5,"metadata":{"kernelspec":{"name":"python3","display_name":"Python 3"}},"cells":[
{"id":"t","cell_type":"markdown","metadata":{},"source":"# Title"},
{"id":"a","cell_type":"code","metadata":{},"outputs":[],"execution_count":null,"source":"import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()\nopen('w.txt', 'w').write('x')"},
{"id":"b","cell_type":"code","metadata":{},"outputs":[],"execution_count":null,"source":"1 / 0"},
{"id":"c","cell_type":"code","metadata":{},"outputs":[],"execution_count":null,"source":"print('never')"}]}`
	dir := t.TempDir()
	got := runScript(t, dir, map[string]string{"n.ipynb": book}, nil, "--output", "out", "n.ipynb")
	if got.status != 1 || got.out != "1\n" || !strings.Contains(got.err, "ZeroDivisionError: division by zero") {
		t.Errorf("the notebook gave %+v, want exit status 1, the output 1 and ZeroDivisionError", got)
	}
	for _, name := range []string{"n.ipynb", "n-1.png", "w.txt"} {
		if info, err := os.Stat(filepath.Join(dir, "out", name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: got %v, want a file with content", name, err)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "out/n.ipynb")); !bytes.Contains(b, []byte("# Title")) || !bytes.Contains(b, []byte("ZeroDivisionError")) {
		t.Errorf("the executed notebook is %s, want the title and the error in it", b)
	}
}

func TestSignalsReachTheScript(t *testing.T) {
	t.Parallel()
	const source = `import signal, sys, time
def stop(number, frame):
    open("stopped.txt", "w").write(str(number))
    sys.exit(9)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, stop)
print("ready", flush=True)
time.sleep(300)
`
	for sig, want := range map[syscall.Signal]int{syscall.SIGTERM: 9, syscall.SIGHUP: 9, syscall.SIGINT: 130} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "s.py"), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(binary(t), "--home", newHome(t), "run", "s.py")
			var problems bytes.Buffer
			cmd.Dir, cmd.Stderr = dir, &problems
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
				t.Fatalf("%v: %s", err, &problems)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != want || sig == syscall.SIGINT != strings.HasSuffix(problems.String(), "KeyboardInterrupt\n") {
				t.Errorf("%s: got exit status %d and %s, want %d, and KeyboardInterrupt only after SIGINT", sig, got, &problems, want)
			}
			if _, err := os.Stat(filepath.Join(dir, "stopped.txt")); (err == nil) != (sig != syscall.SIGINT) {
				t.Errorf("the file of the signal handler: got %v, want a file for all signals but SIGINT", err)
			}
		})
	}
}

func TestAScriptIsInterruptedAtItsTimeoutAndKeepsItsFiles(t *testing.T) {
	t.Parallel()
	const source = "import time\nopen('w.txt', 'w').write('x')\nprint('begun')\ntry:\n    time.sleep(300)\nfinally:\n    print('tidied up')\n"
	dir := t.TempDir()
	got := runScript(t, dir, map[string]string{"s.py": source}, nil, "--timeout", "2s", "s.py")
	if got.out != "begun\ntidied up\n" || got.status != 124 || !strings.Contains(got.err, "KeyboardInterrupt\ncellhold: the script did not end by itself: stopped at its deadline of 2s (--timeout)\n") {
		t.Errorf("the script gave %+v, want the outputs of the script, exit status 124 and a message about the deadline", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "w.txt")); err != nil {
		t.Error(err)
	}
	got = runScript(t, dir, map[string]string{"s.py": "import time\nwhile True:\n    try: time.sleep(300)\n    except KeyboardInterrupt: pass\n"}, nil, "--timeout", "1s", "s.py")
	if got.status != 124 {
		t.Errorf("a script that ignores the interrupt: got %+v, want exit status 124", got)
	}
}

func TestAClosedOutputEndsTheScriptWithoutAMessage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s.py"), []byte("n = 0\nwhile True:\n    print(n); n += 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", `"$1" --home "$2" run s.py | head -1; echo "${PIPESTATUS[0]}"`, "bash", binary(t), newHome(t))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "0\n141\n" {
		t.Errorf("got %v and %s, want one line and exit status 141", err, out)
	}
}
