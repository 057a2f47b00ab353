package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// screenTime limits the wait for a text on the screen.
const screenTime = 90 * time.Second

// terminal is a pane of tmux with one program.
type terminal struct {
	t      *testing.T
	socket string

	mu      sync.Mutex
	raw     bytes.Buffer  // all that the program wrote
	written chan struct{} // capacity 1: a token when raw grew
}

// newTerminal starts a program in a pane of tmux. The pane waits until the test reads what the program writes.
func newTerminal(t *testing.T, env []string, command ...string) *terminal {
	t.Helper()
	dir, err := os.MkdirTemp("", "tmux") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	w := &terminal{t: t, socket: filepath.Join(dir, "s"), written: make(chan struct{}, 1)}
	pipe := filepath.Join(dir, "p")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	script := "tmux -S " + w.socket + " wait-for begin; env " + quotedWords(append(env, command...)) + "; echo \"[status $?]\"; cat"
	w.tmux("-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "40", script)
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", w.socket, "kill-server").Run()
		_ = os.RemoveAll(dir)
	})
	w.tmux("set-option", "-g", "history-limit", "5000")
	w.tmux("pipe-pane", "-O", "cat > "+pipe)
	go w.read(pipe)
	w.tmux("wait-for", "-S", "begin")
	return w
}

// quotedWords returns words for a shell.
func quotedWords(words []string) string {
	for i, word := range words {
		words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

func (w *terminal) tmux(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", w.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "TMUX=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// read collects what the program writes, until tmux ends.
func (w *terminal) read(pipe string) {
	f, err := os.Open(pipe)
	if err != nil {
		return
	}
	defer f.Close()
	part := make([]byte, 64<<10)
	for {
		n, err := f.Read(part)
		w.mu.Lock()
		w.raw.Write(part[:n])
		w.mu.Unlock()
		select {
		case w.written <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// screen returns the text of the pane, with the lines that were scrolled away. Wrapped lines are joined.
func (w *terminal) screen() string { return w.tmux("capture-pane", "-p", "-J", "-S", "-5000") }

// until waits for a text on the screen, and returns the screen.
func (w *terminal) until(text string) string {
	w.t.Helper()
	deadline := time.After(screenTime)
	for {
		if screen := w.screen(); strings.Contains(screen, text) {
			return screen
		}
		select {
		case <-w.written:
		case <-deadline:
			w.t.Fatalf("the screen does not show %q:\n%s", text, w.screen())
		}
	}
}

// typed types text and Enter.
func (w *terminal) typed(text string) {
	w.t.Helper()
	w.tmux("send-keys", "-l", text)
	w.tmux("send-keys", "Enter")
}

// key presses a key, such as Tab or C-c.
func (w *terminal) key(name string) {
	w.t.Helper()
	w.tmux("send-keys", name)
}

// paste pastes text as terminals do, and presses Enter.
func (w *terminal) paste(text string) {
	w.t.Helper()
	cmd := exec.Command("tmux", "-S", w.socket, "load-buffer", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	w.tmux("paste-buffer", "-p", "-d")
	w.tmux("send-keys", "Enter")
}

// output returns all bytes that the program wrote.
func (w *terminal) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.raw.String()
}
