package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestReplacedStreamsAreRestoredInTheNextCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, x := range []struct{ code, stream, class string }{
		{"import io, sys\nsys.stdout = io.StringIO()\n1 / 0", "stdout", "_io.StringIO"},
		{"sys.stdout = io.StringIO()", "stdout", "_io.StringIO"},
		{"sys.stderr = open('/dev/null', 'w')", "stderr", "_io.TextIOWrapper"},
		{"sys.stdout = None", "stdout", "builtins.NoneType"},
		{"sys.stdout = print", "stdout", "builtins.builtin_function_or_method"},
		{"async def f():\n    sys.stdout = io.StringIO()\n    raise KeyError\nawait f()", "stdout", "_io.StringIO"},
		{"sys.stdin = io.StringIO('x')\n1 / 0", "stdin", "_io.StringIO"},
	} {
		c := s.run(t, id, x.code)
		note := "[The code left sys." + x.stream + " replaced by " + x.class + "."
		if got := stderrOf(c); strings.Count(got, note) != 1 {
			t.Errorf("%s\nwrites %q to stderr, want %q", x.code, got, note)
		}
		c = s.run(t, id, "print('out')\nprint('err', file=sys.stderr)")
		// Only the order within each stream is defined.
		if out, err := streamOf(c, "stdout"), streamOf(c, "stderr"); out != "out\n" || err != "err\n" {
			t.Errorf("after\n%s\nthe next cell writes %q on stdout, %q on stderr; want out and err", x.code, out, err)
		}
	}
}

// stderrOf returns the text that a cell wrote to stderr.
func stderrOf(c cellhold.Cell) string { return streamOf(c, "stderr") }

// streamOf returns the text that a cell wrote to the stream with this name.
func streamOf(c cellhold.Cell, name string) string {
	var b strings.Builder
	for _, o := range c.Outputs {
		if o.Name == name {
			b.WriteString(o.Text)
		}
	}
	return b.String()
}

func TestAStreamThatStillWritesToTheSessionStays(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import contextlib, io, sys\nimport tqdm.contrib\nkernel = sys.stdout")
	for _, x := range []string{
		"class Tee:\n    def __init__(self, *files): self.files = files\n    def write(self, text): [f.write(text) for f in self.files]\n    def flush(self): pass\nlog = io.StringIO()\nsys.stdout = Tee(sys.stdout, log)",
		"class Upper:\n    def __init__(self, stream): self.write = stream.write; self.flush = stream.flush\nsys.stdout = Upper(sys.stdout)",
		"import colorama.ansitowin32 as a\nsys.stdout = a.StreamWrapper(sys.stdout, a.AnsiToWin32(sys.stdout))",
		"from tqdm.contrib import DummyTqdmFile\nsys.stdout = DummyTqdmFile(sys.stdout)",
		"sys.stdout = io.TextIOWrapper(sys.stdout.buffer)",
	} {
		if got := s.must(t, id, "try:\n    "+strings.ReplaceAll(x, "\n", "\n    ")+"\nexcept ImportError:\n    pass\nmine = sys.stdout\nprint('one')"); got != "one\n" {
			t.Errorf("%s\nwrites %q, want %q", x, got, "one\n")
		}
		if got := s.must(t, id, "print('two', sys.stdout is mine)"); got != "two True\n" {
			t.Errorf("after %s\nthe next cell writes %q, want %q", x, got, "two True\n")
		}
		s.must(t, id, "sys.stdout = kernel")
	}
}
