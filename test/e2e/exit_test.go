package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestExitEndsItsCellAndKeepsTheKernel(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import asyncio, sys\nopen('leaves.py', 'w').write('exit(2)')\nkept = 1\ndef f(*status): exit(*status)\nasync def g(): f(2)")
	for _, x := range []struct{ code, value string }{
		{"exit(2)", "2"},
		{"print('a')\nexit(2)\nkept = 0", "2"},
		{"quit()\nkept = 0", ""},
		{"exit", ""},
		{"quit;", ""},
		{"if kept: exit\nkept = 0", ""},
		{"for i in range(3):\n    try:\n        f('a message')\n    finally:\n        pass\nkept = 0", "a message"},
		{"await g()\nkept = 0", "2"},
		{"await asyncio.gather(g(), asyncio.sleep(0))\nkept = 0", "2"},
		{"async with asyncio.timeout(5):\n    await asyncio.create_task(g())\nkept = 0", "2"},
		{"%time exit(2)\nkept = 0", "2"},
		{"%%time\nexit(2)\nkept = 0", "2"},
		{"%run leaves.py\nkept = 0", "2"},
		{"%run -m leaves\nkept = 0", "2"},
		{"import leaves\nkept = 0", "2"},
		{"exec('exit(2)')\nkept = 0", "2"},
		{"sys.exit(2)\nkept = 0", "2"},
		{"raise SystemExit(2)\nkept = 0", "2"},
	} {
		c := s.run(t, id, x.code)
		if c.Status != cellhold.StatusError || stderrOf(c) != "" || len(c.Outputs) == 0 {
			t.Errorf("%s\nended with %s, on stderr %q; want error and an empty stderr", x.code, c.Status, stderrOf(c))
			continue
		}
		if o := c.Outputs[len(c.Outputs)-1]; o.ErrorName != "SystemExit" || o.ErrorValue == nil || *o.ErrorValue != x.value {
			t.Errorf("%s\nended with %+v, want SystemExit %q", x.code, o, x.value)
		}
		if got := s.must(t, id, "print(kept)"); got != "1\n" {
			t.Errorf("after\n%s\nthe variable is %q, want %q", x.code, got, "1\n")
		}
	}
}

func TestAScriptEndsWithTheStatusOfItsExit(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	for _, x := range []struct {
		script string
		status int
	}{
		{"exit(3)", 3},
		{"quit()", 0},
		{"import asyncio\nasync def main(): exit(4)\nasyncio.run(main())", 4},
		{"import asyncio\nawait asyncio.sleep(0)\nexit('no')", 1},
	} {
		cmd := exec.CommandContext(t.Context(), binary(t), "--home", home, "run", "-")
		cmd.Stdin = strings.NewReader(x.script + "\nprint('never')\n")
		out, _ := cmd.Output() // the test checks the exit status below
		if cmd.ProcessState.ExitCode() != x.status || len(out) > 0 {
			t.Errorf("%s\nended with %d, want %d: %q", x.script, cmd.ProcessState.ExitCode(), x.status, out)
		}
	}
}
