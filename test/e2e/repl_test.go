package e2e

import (
	"bytes"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cellhold/client"
)

// replEnv is the environment of a person: a home of the test's own, where the history is kept.
func replEnv(t *testing.T, more ...string) []string {
	t.Helper()
	dir := t.TempDir()
	return append([]string{"HOME=" + dir, "XDG_STATE_HOME=" + dir, "XDG_CACHE_HOME=" + dir, "TERM_PROGRAM="}, more...)
}

// TestAPersonDrawsThePlotOfTheDemoInATerminal types the cells of the demo into `cellhold repl`, without a server.
func TestAPersonDrawsThePlotOfTheDemoInATerminal(t *testing.T) {
	t.Parallel()
	home, figures := newHome(t), filepath.Join(t.TempDir(), "figures")
	table, err := os.ReadFile(absolute(t, "demo/data/penguins.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(home, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "data", "penguins.csv"), table, 0o644); err != nil {
		t.Fatal(err)
	}
	env := replEnv(t)
	w := newTerminal(t, env, binary(t), "--home", home, "repl", "--figures", figures)
	w.until("In [1]: ")

	w.typed("for i in range(3):") // Enter does not run it: the kernel knows that the code is not complete
	w.typed("print(i * 7)")
	w.key("Enter")
	w.until("\n14\n")
	w.until("In [2]: ")
	w.typed("import math")
	w.until("In [3]: ")
	w.tmux("send-keys", "-l", "math.facto")
	w.key("Tab")
	w.until("math.factorial")
	w.typed("(5)")
	w.until("Out[3]: 120")
	w.until("In [4]: ")
	w.typed("len?")
	w.until("Return the number of items in a container.")
	w.typed(`name = input("who? ")`)
	w.until("\nwho? ")
	w.typed("Ann")
	w.until("In [5]: ")
	w.typed("name * 2")
	w.until("Out[5]: 'AnnAnn'")

	count := 6
	for _, name := range []string{"1-load", "2-correlate", "4-recovery", "5-plot"} {
		code, err := os.ReadFile(absolute(t, "demo/cells/"+name+".py"))
		if err != nil {
			t.Fatal(err)
		}
		w.until("In [" + string(rune('0'+count)) + "]: ")
		w.paste(strings.TrimSpace(string(code)))
		count++
	}
	screen := w.until("figure-1.png")
	if !strings.Contains(screen, "344 penguins, 3 species, 3 islands") {
		t.Errorf("the first cell printed nothing:\n%s", screen)
	}
	path := filepath.Join(figures, "figure-1.png")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if plot, err := png.Decode(bytes.NewReader(data)); err != nil || plot.Bounds().Dx() < 1000 || len(data) < 50_000 {
		t.Errorf("the plot: %v, %v", plot.Bounds(), err)
	}
	if link := "\x1b]8;;file://"; !strings.Contains(w.output(), link) || !strings.Contains(w.output(), path+"\x1b\\") {
		t.Errorf("the path of the plot is no link:\n%q", w.output()[max(0, len(w.output())-2000):])
	}

	w.typed(`print("\x1b]0;owned\x07\x1b[2J\x1b[32mgreen")`) // the guest is hostile
	w.until("\ngreen\n")
	if out := w.output(); strings.Contains(out, "\x1b]0;owned") || !strings.Contains(out, "\x1b[32mgreen") {
		t.Error("a control sequence of the code reached the terminal, or a colour did not")
	}
	w.key("C-d")
	w.until("[status 0]")

	info, err := os.Stat(filepath.Join(strings.TrimPrefix(env[1], "XDG_STATE_HOME="), "cellhold", "repl-history.jsonl"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the history: %v, %v; want a file of mode 0600", info, err)
	}
}

// TestAPersonUsesASessionOfAServerInATerminal: interrupts, leaves a running cell, comes back, and watches.
func TestAPersonUsesASessionOfAServerInATerminal(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "kept = 'by the agent'")
	env := replEnv(t, "NO_COLOR=1")
	flags := []string{"--url", s.url, "--token", s.token}
	w := newTerminal(t, env, append([]string{binary(t), "--home", s.home, "repl", string(id)}, flags...)...)
	w.until("In [2]: ")
	w.key("Up") // the history has the code of the agent
	w.until("In [2]: kept = 'by the agent'")
	w.key("C-u")
	w.typed("%checkpoint before")
	w.until("Checkpoint before saved.")
	w.typed("kept = 'changed'")
	w.until("In [3]: ")
	w.typed("%rollback before")
	w.until("those of checkpoint before")
	w.typed("kept")
	w.until("'by the agent'\n")
	w.typed("%fork")
	w.until("To use it: %session s")
	w.typed("open('made.txt', 'w').write('x')")
	w.until("Out[")
	w.typed("%files")
	w.until("made.txt")

	watcher := newTerminal(t, env, append([]string{binary(t), "--home", s.home, "attach", "--from", "1", "--input", string(id)}, flags...)...)
	watcher.until("kept = 'by the agent'")
	w.typed("while True: pass")
	w.key("Enter")
	watcher.until("  while True: pass")
	w.key("C-c")
	w.until("KeyboardInterrupt")
	watcher.until("interrupted")
	w.typed("print('answer', input('still there? '))")
	watcher.until("still there? ")
	watcher.typed("yes")
	w.until("answer yes")

	w.typed("import signal; _ = signal.signal(2, signal.SIG_IGN); print('deaf'); __import__('time').sleep(600)")
	w.until("\ndeaf\n")
	w.key("C-c")
	w.until("\ndeaf\n^C")
	w.key("C-c")
	w.until("To come back: cellhold repl --url " + s.url + " " + string(id))
	w.until("[status 130]")
	watcher.key("C-c")
	watcher.until("[status 0]")
	if out := w.output(); strings.Contains(out, "\x1b[31m") || strings.Contains(out, "\x1b[32m") {
		t.Error("NO_COLOR does not switch the colours off")
	}

	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"logs", string(id)}, []string{"deaf", "answer yes"}},
		{[]string{"top", "--once"}, []string{string(id), "busy"}},
	} {
		out, err := exec.Command(binary(t), append(append([]string{"--home", s.home}, c.args...), flags...)...).CombinedOutput()
		for _, want := range c.want {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v, want %q in\n%s", c.args[0], err, want, out)
			}
		}
	}
}
