package e2e

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// No caller can answer a program. So a program must not wait for input, whatever it reads and however it starts.
func TestAProgramOfACellHasEmptyInput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import os, subprocess, sys\nkept = 42")
	for _, cell := range []struct{ code, want string }{
		{"!cat; echo status $?", "status 0"},
		{"!pip uninstall tqdm", "Nobody can answer a question here"},
		{`!python3 -c "input('Your name? ')"`, "Your name?"},
		{`!python3 -c "input()"`, "EOFError"},
		{`!python3 -c "import getpass; getpass.getpass('Secret? ')"`, "Secret?"},
		{"!su; echo status $?", "status 1"},
		{"!read x; echo status $?", "status 1"},
		{"!cat < /dev/tty; echo status $?", "status"},
		{"!cat <&2; echo status $?", "status 1"},
		{"!printf 'protocol=https\\nhost=example.org\\n\\n' | git credential fill; echo status $?", "could not read Username"},
		{`!python3 -c "import os; open(os.ttyname(1)).read()"`, "PermissionError"},
		{"!bash; python3; echo status $?", "status 0"},
		{"!more /etc/passwd | tail -1; git --paginate --help | tail -1; echo status $?", "status 0"},
		{"subprocess.run(['cat'])", "returncode=0"},
		{"print(os.system('cat'))", "0"},
		{"x = !cat\nprint(x)", "[]"},
		{"%sx cat", "[]"},
		{"print(get_ipython().getoutput('cat; echo status $?'))", "status 0"},
		{"%%script cat\nline", "line"},
		{"%%sh\nread x; echo status $?", "status 1"},
		{"%%bash\ncat; python3 -c 'input()' 2>&1 | tail -1", "EOFError"},
		{"%%bash\ncat < /dev/tty; echo status $?", "status 1"},
		{"p = subprocess.Popen('cat < /dev/tty', shell=True); print(p.wait())", ""},
	} {
		c := s.run(t, id, cell.code, 20*time.Second)
		if c.Status == cellhold.StatusTimeout || !strings.Contains(text(c), cell.want) {
			t.Errorf("%s\nended with %s (%s) and %q, want %q before the timeout", cell.code, c.Status, c.Cause, text(c), cell.want)
		}
	}
	if got := s.must(t, id, "kept"); got != "42" {
		t.Errorf("the variable is %q, want 42", got)
	}
}

// On a terminal, programs show progress and write each line at once.
func TestAProgramOfACellHasATerminalForItsOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, cell := range []struct{ code, want string }{
		{`!python3 -c "import os, sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size(1))"`,
			"False True True os.terminal_size(columns=80, lines=24)"},
		{"!ls --color=auto -d /tmp", "\x1b["},
		{`!python3 -c "import tqdm; [None for _ in tqdm.tqdm(range(3), desc='work')]"`, "work: 100%"},
	} {
		if got := s.must(t, id, cell.code); !strings.Contains(got, cell.want) {
			t.Errorf("%s\nprinted %q, want %q", cell.code, got, cell.want)
		}
	}
	s.must(t, id, "!(sleep 0.2; echo late; echo late > late.txt) & true")
	if got := s.must(t, id, "import time; time.sleep(1); open('late.txt').read()"); got != "'late\\n'" {
		t.Errorf("a program in the background left %s, want %s", got, "'late\\n'")
	}
	s.interruptRunning(t, id, `!python3 -c "import time; print('line'); time.sleep(60)"`)
}
