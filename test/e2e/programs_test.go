package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestOutputOfProgramsIsCompleteAndInTheirCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for range 25 {
		for _, code := range []string{
			"!echo one; echo two >&2",
			"import subprocess; _ = subprocess.run('echo one; echo two', shell=True)",
			"import os; _ = os.system('echo one; echo two >&2')",
		} {
			if got := s.must(t, id, code); !strings.Contains(got, "one") || !strings.Contains(got, "two") {
				t.Fatalf("%s\nprinted %q, want one and two", code, got)
			}
		}
	}
	const long = `c = "print('日本語'*20000)"`
	s.must(t, id, long)
	for _, code := range []string{`!python3 -c "$c"`, "import subprocess; _ = subprocess.run(['python3', '-c', c])"} {
		if got := s.must(t, id, code); strings.Count(got, "日本語") != 20000 || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%s: got %d words, want 20000", code, strings.Count(got, "日本語"))
		}
	}
}

// The cell starts the program in a loop, so the interrupt must end the loop too.
func TestAnInterruptEndsTheProgramOfACellAndKeepsTheKernel(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.submit(t, id, client.Code{Code: "while True:\n    !echo begun; sleep 1000"})
	s.awaitText(t, c)
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c = s.done(t, c); c.Status != cellhold.StatusInterrupted {
		t.Errorf("the cell ended with %s, want interrupted", c.Status)
	}
	if got := s.must(t, id, "!cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[s]leep 1000'; exit 7\nprint(_exit_code)"); strings.Contains(got, "sleep") || !strings.Contains(got, "7") {
		t.Errorf("after the interrupt: %s, want exit status 7 and no sleep process", got)
	}
}

// An interrupt can arrive while the kernel waits to send output. The kernel must then release its locks.
func TestTheKernelContinuesAfterAnInterruptDuringOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import os, subprocess, sys")
	for range 8 {
		for _, code := range []string{
			"while True: print('x', flush=True)",
			"while True: sys.stdout.flush(); os.write(1, b'x\\n')",
			"while True: _ = subprocess.run(['echo', 'x'])",
			"print(0, flush=True)\nwhile True: display(1)",
			"while True: print('x' * 200000)",
		} {
			c := s.submit(t, id, client.Code{Code: code})
			s.await(t, c, cellhold.EventStream)
			if err := s.Interrupt(t.Context(), id, ""); err != nil {
				t.Fatal(err)
			}
			if c = s.done(t, c); c.Status != cellhold.StatusInterrupted {
				t.Errorf("%s ended with %s, want interrupted", code, c.Status)
			}
			if got := s.must(t, id, "'whole'"); got != "'whole'" {
				t.Fatalf("the next cell returns %q, want %q", got, "'whole'")
			}
		}
	}
}
