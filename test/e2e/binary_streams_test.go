package e2e

import (
	"strings"
	"testing"

	"cellhold/client"
)

func TestBytesAndTextOfAnOutputStreamArriveInOrder(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import codecs, io, os, subprocess, sys")
	for _, x := range []struct{ code, want string }{
		{"print('a', end='')\nn = sys.stdout.buffer.write(b'b')\nprint('c', n)", "abc 1\n"},
		{"for b in '€😀'.encode(): n = sys.stdout.buffer.write(bytes([b]))", "€😀"},
		{"n = sys.stdout.buffer.write(b'\\xff\\n')", "\ufffd\n"},
		{"n = sys.stdout.buffer.write(memoryview(b'x' * 100_000))\nprint(n)", strings.Repeat("x", 100_000) + "100000\n"},
		{"sys.stdout.writelines(x for x in 'ab')", "ab"},
		{"sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\nprint('é')", "é\n"},
		{"print('stays')\nsys.stdout = sys.__stdout__", "stays\n"},
		{"sys.stdout = codecs.getwriter('utf-8')(sys.stdout.detach())\nprint('é')\nsys.stdout = sys.__stdout__", "é\n"},
		{"sys.stdout.reconfigure(encoding='latin-1', errors='replace')\nn = sys.stdout.buffer.write(b'\\xe9')\nprint('€', sys.stdout.encoding)\nsys.stdout.reconfigure(encoding='utf-8')", "é€ latin-1\n"},
		{"n = os.write(sys.stdout.fileno(), b'by number\\n')", "by number\n"},
		{"r = subprocess.run(['echo', 'of a program'], stdout=sys.stdout)", "of a program\n"},
		{"sys.stdout.close()\nprint('open', sys.stdout.closed)", "open False\n"},
	} {
		if got := s.must(t, id, x.code); got != x.want {
			t.Errorf("%s\nwrites %.100q, want %.100q", x.code, got, x.want)
		}
	}
}
