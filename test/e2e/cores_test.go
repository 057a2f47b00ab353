package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestASessionSeesTheCPUsOfItsLimit(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("testdata/cores.py") // prints the set of all numbers of CPUs that libraries report
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, newHome(t), "--max-cpu=8", "--max-memory=2GiB")
	for given, want := range map[float64]int{0.5: 1, 1.5: 2, 8: 8} {
		want = min(want, runtime.NumCPU()) // the host can have fewer CPUs
		id := s.session(t, client.CreateSession{Limits: cellhold.Limits{CPU: given, Memory: 2 << 30}})
		if got := s.oneLine(t, id, string(code)); got != fmt.Sprintf("{%d}", want) {
			t.Errorf("with %v CPUs: the values are %s, want only %d", given, got, want)
		}
		if got := strings.TrimSpace(s.line(t, id, "nproc")); got != fmt.Sprint(want) {
			t.Errorf("with %v CPUs: nproc prints %s, want %s", given, got, fmt.Sprint(want))
		}
		s.end(t, id)
	}
}

func TestTheOpenMPWaitPolicyIsPassiveByDefault(t *testing.T) {
	t.Parallel()
	const (
		show = "import os\nprint(*(os.environ[k] for k in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')))"
		echo = "echo $OMP_WAIT_POLICY $GOMP_SPINCOUNT $KMP_BLOCKTIME"
		want = "PASSIVE 0 0"
	)
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	if got := s.oneLine(t, id, show); got != want {
		t.Errorf("a cell has %s, want %s", got, want)
	}
	if got := s.oneLine(t, id, "import subprocess\nprint(subprocess.getoutput('"+echo+"'))"); got != want {
		t.Errorf("a program of a cell has %s, want %s", got, want)
	}
	if got := strings.TrimSpace(s.line(t, id, echo)); got != want {
		t.Errorf("a command has %s, want %s", got, want)
	}
	c := s.command(t, id, client.Run{Line: echo, Env: map[string]string{"OMP_WAIT_POLICY": "ACTIVE"}})
	if got := strings.TrimSpace(c.Stdout.Text); got != "ACTIVE 0 0" {
		t.Errorf("a command with its own setting has %s, want ACTIVE 0 0", got)
	}
	if _, err := s.AddKernel(t.Context(), id, "bash", ""); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(text(s.runOn(t, id, "bash", echo))); got != want {
		t.Errorf("the Bash kernel has %s, want %s", got, want)
	}
}
