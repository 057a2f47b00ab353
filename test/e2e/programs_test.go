package e2e

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

func TestWhatProgramsWriteComesWholeAndWithTheirCell(t *testing.T) {
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
				t.Fatalf("%s\nput out %q", code, got)
			}
		}
	}
	const long = `c = "print('日本語'*20000)"`
	s.must(t, id, long)
	for _, code := range []string{`!python3 -c "$c"`, "import subprocess; _ = subprocess.run(['python3', '-c', c])"} {
		if got := s.must(t, id, code); strings.Count(got, "日本語") != 20000 || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%s: %d of 20000 words came", code, strings.Count(got, "日本語"))
		}
	}
}

func TestACommandOfACellIsInterruptedWithItAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.submit(t, id, client.Code{Code: "!echo begun; sleep 1000"})
	s.awaitText(t, c)
	begun := time.Now()
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c = s.done(t, c); c.Status == cellhold.StatusTimeout || time.Since(begun) > time.Minute {
		t.Errorf("it ended with %s after %s", c.Status, time.Since(begun))
	}
	if got := s.must(t, id, "!cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[s]leep 1000'; exit 7\nprint(_exit_code)"); strings.Contains(got, "sleep") || !strings.Contains(got, "7") {
		t.Errorf("afterwards: %s", got)
	}
}
