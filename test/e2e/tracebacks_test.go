package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// endless has cells that fail with a long traceback. left matches the line for its omitted parts.
var endless = []struct{ name, code, left string }{
	{"one function", "def f(n): return f(n + 1)\nf(0)", `frames left out: f at line 1 \(9\d\d times\)`},
	{"a limit of 20,000", "import sys; sys.setrecursionlimit(20_000); f(0)", `frames left out: f at line 1 \(199\d\d times\)`},
	{"a limit of 100,000", "sys.setrecursionlimit(100_000); f(0)", `frames left out: f at line 1 \(999\d\d times\)`},
	{"three functions in turn", "sys.setrecursionlimit(1000)\ndef a(n): return b(n)\ndef b(n): return c(n)\ndef c(n): return a(n)\na(0)", `a at line 2 \(3\d\d times\), b at line 3 `},
	{"a repr", "class A:\n    def __repr__(self): return repr(self)\nA()", `A.__repr__ at line 2 \(9\d\d times\)`},
	{"a library", "import copy\nd = []\nfor _ in range(5000): d = [d]\ncopy.deepcopy(d)", `deepcopy at line \d+ \(`},
	{"a coroutine", "async def co(n): return await co(n + 1)\nawait co(0)", `co at line 1 \(9\d\d times\)`},
	{"a chain of causes", "e = None\nfor i in range(20_000):\n    x = ValueError(i); x.__cause__ = e; e = x\nraise e", `\[... 19990 exceptions left out`},
	{"a chain of contexts", "def h(n):\n    try: h(n - 1) if n else 1 / 0\n    except Exception: raise ValueError(n)\nh(300)", `\[... 292 exceptions left out`},
	{"a group of thousands", "raise ExceptionGroup('many', [ValueError(i) for i in range(5000)])", `\[... 4985 exceptions of the group left out\]`},
	{"a recursion in a group", "try: f(0)\nexcept RecursionError as e: raise ExceptionGroup('one', [e])", `f at line 1 \(9\d\d times\)`},
	{"a long text", "raise ValueError('began' + 'x' * 10 ** 7 + 'ended')", `began.*characters left out.*ended`},
	{"a long note", "e = KeyError('k'); e.add_note('began' + 'n' * 10 ** 7 + 'ended'); raise e", `began.*characters left out.*ended`},
	{"a long line of source", "x = '" + strings.Repeat("x", 1<<20) + "'; 1 / 0", `characters left out`},
	{"a thousand different lines", "def deep(n):\n    if n == 0: raise KeyError\n    ns = {}\n    exec('\\n' * n + 'def q(n, deep): return deep(n - 1)', ns)\n    return ns['q'](n, deep)\ndeep(200)", `\[... \d+ frames left out: .*and \d+ other lines\]`},
}

func TestATracebackOfManyFramesIsShortAndFast(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, e := range endless {
		t.Run(e.name, func(t *testing.T) {
			begun := time.Now()
			c := s.run(t, id, e.code)
			took := time.Since(begun)
			if c.Status != cellhold.StatusError || len(c.Outputs) == 0 {
				t.Fatalf("the cell ended with %s and %.300q, want error", c.Status, text(c))
			}
			o := c.Outputs[len(c.Outputs)-1]
			plain := regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(strings.Join(o.Traceback, "\n"), "")
			if !regexp.MustCompile(`(?s)` + e.left).MatchString(plain) {
				t.Errorf("got the traceback\n%.3000s\nwant %s in it", plain, e.left)
			}
			if len(plain) > 70_000 || len(*o.ErrorValue) > 40_000 || took > 20*time.Second {
				t.Errorf("the traceback has %d bytes and the value %d bytes, after %s; want at most 70000, 40000 and 20s", len(plain), len(*o.ErrorValue), took)
			}
			if lines := strings.Count(plain, "\n"); lines > 300 {
				t.Errorf("the traceback has %d lines, want at most 300", lines)
			}
			t.Logf("%s, %d bytes", took, len(plain))
		})
	}
	if got := s.must(t, id, "print('fine')"); got != "fine\n" {
		t.Errorf("after the tracebacks: %q, want %q", got, "fine\n")
	}
}

func TestAGroupOfExceptionsIsAnErrorOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, "raise ExceptionGroup('two', [KeyError('k'), ExceptionGroup('in', [OSError('o')])])")
	if len(c.Outputs) != 1 || c.Outputs[0].Type != cellhold.EventError {
		t.Fatalf("the outputs are %+v, want one error", c.Outputs)
	}
	want := `Traceback (most recent call last):
  Cell In[1], line 1, in <module>
    raise ExceptionGroup('two', [KeyError('k'), ExceptionGroup('in', [OSError('o')])])
ExceptionGroup: two (2 sub-exceptions)
  +---------------- 1 ----------------
  | KeyError: 'k'
  +---------------- 2 ----------------
  | ExceptionGroup: in (1 sub-exception)
  |   +---------------- 1 ----------------
  |   | OSError: o
  |   +------------------------------------
  +------------------------------------
`
	if got := strings.Join(c.Outputs[0].Traceback, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
