package e2e

import (
	"os"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// sessionOfEachKind creates a session for each way to make a sandbox. The server has two templates: python has
// warm sandboxes, and saved has none.
func sessionOfEachKind(t *testing.T, s *server) map[string]cellhold.SessionID {
	t.Helper()
	s.awaitReady(t, 1)
	s.awaitTemplate(t, "built", func(x cellhold.Template) bool { return x.Name == "saved" && !x.Built.IsZero() })
	kinds := map[string]cellhold.SessionID{
		"ready":    s.session(t, client.CreateSession{}),
		"restored": s.session(t, client.CreateSession{Template: "saved"}),
		"cold":     s.session(t, client.CreateSession{Limits: cellhold.Limits{Disk: 1 << 29}}),
	}
	// Python and Bash read the host name and can store it. In a fork they must not see the old name.
	s.must(t, kinds["restored"], "import platform\nplatform.node()")
	if _, err := s.AddKernel(t.Context(), kinds["restored"], "bash", "bash"); err != nil {
		t.Fatal(err)
	}
	forks, err := s.Fork(t.Context(), kinds["restored"], 1, "")
	if err != nil {
		t.Fatal(err)
	}
	kinds["forked"] = forks[0].ID
	s.hibernate(t, kinds["cold"])
	kinds["resumed"] = kinds["cold"] // the next cell resumes the session
	kinds["cold"] = s.session(t, client.CreateSession{Limits: cellhold.Limits{Disk: 1 << 29}})
	return kinds
}

func TestEverySandboxResolvesItsOwnHostNameAndSeesItsCPUs(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("testdata/names.py")
	if err != nil {
		t.Fatal(err)
	}
	const want = `its name 127.0.0.1
names agree True
addresses ['127.0.0.1']
localhost 127.0.0.1 ['127.0.0.1', '::1']
full name 127.0.0.1 True 127.0.0.1
libc 127.0.0.1 ::1             localhost ip6-localhost ip6-loopback
a server on its name is reached by it
no other name has an address
at once True
`
	s := templated(t, newHome(t), "--cpu=1", "--warm=1", "--templates=[{name: python}, {name: saved, warmup: import json}]")
	hosts := map[string]string{}
	for kind, id := range sessionOfEachKind(t, s) {
		if got := s.must(t, id, string(code)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", kind, got, want)
		}
		if got := s.oneLine(t, id, "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)))") + " " + strings.TrimSpace(s.line(t, id, "nproc")); got != "1 1 1" {
			t.Errorf("%s: the limit is 1 CPU, and the code sees %s, want 1 1 1", kind, got)
		}
		if kind == "restored" || kind == "forked" {
			if got, want := text(s.runOn(t, id, "bash", "echo $HOSTNAME")), s.line(t, id, "hostname"); got != want {
				t.Errorf("%s: HOSTNAME in Bash is %q, want the host name %q", kind, got, want)
			}
		}
		hosts[s.line(t, id, "hostname")] += kind + " "
		if c := s.command(t, id, client.Run{Line: "echo 1.2.3.4 localhost >> /etc/hosts"}); c.Status == cellhold.CommandOK {
			t.Errorf("%s: a command that changes the hosts file: got status ok, want an error", kind)
		}
	}
	if len(hosts) != 5 {
		t.Errorf("got the host names %v, want 5 different ones", hosts)
	}
}
