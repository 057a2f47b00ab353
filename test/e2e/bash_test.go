package e2e

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// bash creates a session with a Bash kernel.
func (s *server) bash(t *testing.T) cellhold.SessionID {
	t.Helper()
	id := s.session(t, client.CreateSession{})
	if _, err := s.AddKernel(t.Context(), id, "bash", ""); err != nil {
		t.Fatal(err)
	}
	return id
}

// onBash runs a cell that must end before its timeout.
func (s *server) onBash(t *testing.T, id cellhold.SessionID, code string) cellhold.Cell {
	t.Helper()
	c, err := s.Execute(t.Context(), id, client.Code{Kernel: "bash", Code: code, Timeout: 30 * time.Second})
	if err != nil || c.Status == cellhold.StatusTimeout {
		t.Fatalf("%.100s\nended with %s (%s), %v: %.300s; want an end before the timeout", code, c.Status, c.Cause, err, text(c))
	}
	return c
}

// stream returns the text that a cell wrote to one stream.
func stream(c cellhold.Cell, name string) string {
	var b strings.Builder
	for _, o := range c.Outputs {
		if o.Type == cellhold.EventStream && o.Name == name {
			b.WriteString(o.Text)
		}
	}
	return b.String()
}

// The cells run in one session, in this order, because a cell can read the exit status of the cell before it.
func TestBashReportsTheExitStatusOfACellAndKeepsTheShell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.bash(t)
	for _, cell := range []struct {
		code, status, stdout, stderr string
	}{
		{"x=5; echo out; echo err >&2", "", "out\n", "err\n"},
		{"no-such-command", "127", "", "bash: no-such-command: command not found\n"},
		{"echo $?", "", "127\n", ""},
		{"(exit 7); echo $?; (exit 9)", "9", "7\n", ""},
		{"echo $?", "", "9\n", ""},
		{"echo begun\nif true; then", "2", "begun\n", "bash: syntax error: unexpected end of file\n"},
		{"echo 'unclosed", "2", "", "bash: unexpected EOF while looking for matching `''\n"},
		{"for", "2", "", "bash: syntax error near unexpected token `newline'\n"},
		{"cat <<EOF\ntext", "", "text\n", "warning: here-document"},
		{"cat <<'EOF' | tr a-z A-Z\nit's $x `x` \\\nEOF\n", "", "IT'S $X `X` \\\n", ""},
		{"echo a # comment", "", "a\n", ""},
		{"f() { echo \"f $1\"; return 4; }\nf 1", "4", "f 1\n", ""},
		{"f 2 || echo failed", "", "f 2\nfailed\n", ""},
		{"declare -A m=([a]=1); declare z=3", "", "", ""},
		{"echo \"${m[a]} $z $x\"; false | true; echo \"hi!there\"", "", "1 3 5\nhi!there\n", ""},
		{"cat; echo $?; read x; echo $?", "", "0\n1\n", ""},
		{"cat </dev/tty", "1", "", "bash: /dev/tty: No such device or address\n"},
		{"stty -echo", "1", "", "stty: 'standard input': Inappropriate ioctl for device\n"},
		{"PS1=prompt PS2=more PROMPT_COMMAND='echo prompt'", "", "", ""},
		{"echo one", "", "one\n", ""},
		{"alias echo=false printf=false; printf() { :; }", "", "", ""},
		{"unalias -a; unset -f printf PROMPT_COMMAND", "", "", ""},
		{"exec >/tmp/log; echo hidden", "", "", ""},
		{"cat /tmp/log; exec 9>/tmp/lock; flock 9 && echo locked", "", "hidden\nlocked\n", ""},
		{"printf '\\377ok\\ny\\0z'; break; return 3; set -u; echo $nothing", "1", "\uFFFDok\ny\x00z", "nothing: unbound variable"},
		{"set +u; f() { f; }; f", "1", "", "maximum function nesting level exceeded"},
		{"trap 'echo debug' DEBUG", "", "", ""},
		{"trap - DEBUG", "", "debug\n", ""},
		{"echo a\x00b", "ValueError", "", ""},
		{"printf 'no newline'; echo \\", "", "no newline\\\n", ""},
	} {
		c := s.onBash(t, id, cell.code)
		got := ""
		for _, o := range c.Outputs {
			if o.ErrorName == "ExitStatus" {
				got = strings.TrimPrefix(o.Exception(), "ExitStatus: ")
			} else if o.ErrorName != "" {
				got = o.ErrorName
			}
		}
		if got != cell.status || (c.Status == cellhold.StatusOK) != (cell.status == "") {
			t.Errorf("%s\nended with %s, status %q; want %q", cell.code, c.Status, got, cell.status)
		}
		if out, err := stream(c, "stdout"), stream(c, "stderr"); out != cell.stdout || !strings.Contains(err, cell.stderr) || cell.stderr == "" && err != "" {
			t.Errorf("%s\nwrote %q and %q; want %q and %q", cell.code, out, err, cell.stdout, cell.stderr)
		}
	}
}

func TestACellThatEndsTheShellReportsItAndTheNextCellHasANewShell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.bash(t)
	for _, cell := range []struct{ code, status, want string }{
		{"exit 3", "3", "The shell ended with exit status 3."},
		{"exit", "", "The shell ended with exit status 0."},
		{"trap 'echo bye' EXIT; exit 4", "4", "bye\n"},
		{"set -e\nfalse\necho no", "1", "The shell ended with exit status 1."},
		{"exec echo replaced", "", "replaced\n"},
		{"exec sh -c 'sleep 0.3; exit 5'", "5", "The shell ended with exit status 5."},
		{"kill -9 $$", "137", "The shell was ended by signal 9 (SIGKILL)."},
	} {
		s.onBash(t, id, "x=5; cd /tmp")
		c := s.onBash(t, id, cell.code)
		if (c.Status == cellhold.StatusOK) != (cell.status == "") || !strings.Contains(text(c), cell.want) || strings.Contains(text(c), "no\n") {
			t.Errorf("%s\nended with %s and %q, want status %q and %q", cell.code, c.Status, text(c), cell.status, cell.want)
		}
		if !strings.Contains(stream(c, "stderr"), "A new shell was started: variables, functions and the working directory are lost.") {
			t.Errorf("%s\nwrote %q, want a note about the new shell", cell.code, text(c))
		}
		status := cell.status
		if status == "" {
			status = "0"
		}
		if got := text(s.onBash(t, id, "echo $? [$x] $PWD")); got != status+" [] /workspace\n" {
			t.Errorf("%s\nthe next cell prints %q, want %q", cell.code, got, status+" [] /workspace\n")
		}
	}
	s.onBash(t, id, "(sleep 0.2; kill -9 $$) >&- 2>&- &")
	s.must(t, id, "import time; time.sleep(1)")
	if c := s.onBash(t, id, "rm -rf /tmp/$x/*; echo ran"); c.Status != cellhold.StatusError || strings.Contains(text(c), "ran\n") || !strings.Contains(text(c), "The cell did not run.") {
		t.Errorf("a cell after the end of its shell ended with %s: %q, want error and \"The cell did not run.\"", c.Status, text(c))
	}
}

func TestBashHandlesLongCodeAndStreamsItsOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.bash(t)
	if got := text(s.onBash(t, id, "x='"+strings.Repeat("é'\\''", 50000)+"'; echo ${#x}")); got != "100000\n" {
		t.Errorf("echo ${#x} prints %q for 100,000 characters, want %q", got, "100000\n")
	}
	if got := stream(s.onBash(t, id, "echo first >&2; seq 100000; echo last >&2"), "stdout"); len(got) != 588895 || !strings.HasSuffix(got, "\n100000\n") {
		t.Errorf("%d bytes arrived, want 588,895", len(got))
	}
	c := s.submit(t, id, client.Code{Kernel: "bash", Code: `python3 -c "import time; print('line'); time.sleep(60)"`})
	s.awaitText(t, c)
	if err := s.Interrupt(t.Context(), id, "bash"); err != nil {
		t.Fatal(err)
	}
	if c = s.done(t, c); c.Status != cellhold.StatusInterrupted {
		t.Errorf("the cell ended with %s, want interrupted", c.Status)
	}
	late := s.onBash(t, id, "(sleep 0.5; echo late) & true")
	for ev, err := range s.Watch(t.Context(), id, late.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventStream && ev.Cell == late.ID && strings.Contains(string(ev.Content), "late") {
			break
		}
	}
}

func TestBashShowsImagesAndHTML(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.bash(t)
	var dot bytes.Buffer
	if err := png.Encode(&dot, image.NewGray(image.Rect(0, 0, 3, 2))); err != nil {
		t.Fatal(err)
	}
	c := s.onBash(t, id, "echo "+base64.StdEncoding.EncodeToString(dot.Bytes())+" | base64 -d | display\n"+
		"echo '<b>1</b>' | displayHTML a; echo '<b>2</b>' | displayHTML a; echo plain; ls /tmp/bash_kernel.*; echo no | display")
	if got := figure(t, c.Outputs[0]).Bounds(); got != image.Rect(0, 0, 3, 2) {
		t.Errorf("the image is %v, want 3 by 2 pixels", got)
	}
	if html := unescaped(c.Outputs[1].Data["text/html"]); !strings.Contains(html, "<b>2</b>") {
		t.Errorf("the HTML is %q, want <b>2</b> in it", html)
	}
	if got := text(c); !strings.Contains(got, "plain\n") || !strings.Contains(got, "is no PNG, JPEG, GIF or WebP image") || strings.Contains(got, "saved") {
		t.Errorf("the text is %q, want plain, and an error for data that is no image", got)
	}
}

// An interrupt can arrive before the code, in a command, between two commands, and after the code.
func TestTheShellContinuesAfterInterrupts(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.bash(t)
	s.onBash(t, id, "kept=5; bg() { while :; do sleep 1; done; }; bg & true")
	for i := range 40 {
		code := []string{"while :; do :; done", "while :; do /bin/true; done", "sleep 60", "read -t 60 < <(sleep 60)", "echo short"}[i%5]
		c := s.submit(t, id, client.Code{Kernel: "bash", Code: code})
		if i%2 == 0 {
			s.await(t, c, cellhold.EventCellStarted)
		}
		if err := s.InterruptCell(t.Context(), id, "bash", c.ID); err != nil {
			t.Fatal(err)
		}
		if c = s.done(t, c); c.Status != cellhold.StatusInterrupted && code != "echo short" {
			t.Errorf("%s ended with %s (%s), want interrupted", code, c.Status, c.Cause)
		}
		if c := s.onBash(t, id, "echo $kept; jobs -r | grep -c bg"); text(c) != "5\n1\n" {
			t.Fatalf("after %s: got %s and %q, want 5 and 1 background job", code, c.Status, text(c))
		}
	}
}

// Bash runs the rest of an order that an interrupt cut. The rest often ends with exit status 0.
func TestAnInterruptedOrderOfTheShellIsNotASuccess(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	c := s.run(t, s.session(t, client.CreateSession{}), `
import cellhold_shell, signal
shell = cellhold_shell.Shell("/tmp/interrupted", lambda name, text: None)
shell.start("")
shell.interrupt = lambda: None
whole = shell._order
for start in ("", "\\eval", "eval", " </dev", " 2>&", "\n"):
    shell._order = whole[whole.index(start):]
    shell.interrupted = start != ""
    print(shell.run("echo ran"), end=" ")
`)
	if got := text(c); got != "0 130 130 130 130 130 " {
		t.Errorf("the exit statuses are %q, want 0 for the whole order and 130 for each part", got)
	}
}

func TestBashContinuesAfterADeadlineAndAHibernation(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.bash(t)
	s.onBash(t, id, "x=5; cd /tmp; f() { echo \"f $x\"; return 4; }")
	for _, code := range []string{"sleep 60", "while :; do :; done", "( while :; do :; done )", "set -m; sleep 60", "cat <(sleep 60)"} {
		c, err := s.Execute(t.Context(), id, client.Code{Kernel: "bash", Code: code, Timeout: time.Second})
		if err != nil || c.Status != cellhold.StatusTimeout || !strings.Contains(c.Cause, "the variables are kept") {
			t.Errorf("%s ended with %s (%s), %v; want timeout and \"the variables are kept\"", code, c.Status, c.Cause, err)
		}
	}
	s.hibernate(t, id)
	if c := s.onBash(t, id, "f; echo $PWD; f"); text(c) != "f 5\n/tmp\nf 5\nExitStatus: 4" {
		t.Errorf("after the hibernation Bash prints %q, want \"f 5\", /tmp and exit status 4", text(c))
	}
	if c := s.onBash(t, id, "echo $?; exit 3"); !strings.HasPrefix(text(c), "4\n") || !strings.Contains(text(c), "A new shell was started") {
		t.Errorf("the cell that ends the shell prints %q, want \"4\" and a note about the new shell", text(c))
	}
}
