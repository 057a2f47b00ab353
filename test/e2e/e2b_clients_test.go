package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// The published SDKs of E2B use a server with their own environment variables and nothing else. Each program tells
// its story in test/clients, and prints its steps.
func TestSDKsOfE2BUseTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--max-egress", "public")
	python, node := []string{absolute(t, "build/clientvenv/bin/python"), "-"}, []string{"node", "--input-type=module", "-"}
	variables := []string{"env", "E2B_API_KEY=" + s.token, "E2B_API_URL=" + s.url + "/e2b", "E2B_SANDBOX_URL=" + s.url + "/e2b"}
	for _, c := range []struct {
		name   string
		client clientProgram
		last   string
		steps  int
	}{
		{"Python", clientProgram{append(slices.Clone(variables), python...), absolute(t, "test/clients/e2b_story.py")}, "async, and a kill during a run", 18},
		{"JavaScript", clientProgram{append(slices.Clone(variables), node...), absolute(t, "test/clients/e2b_story.mjs")}, "a kill during a run", 14},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := c.client.run(t)
			steps := strings.Split(out, "\n")
			if err != nil || steps[len(steps)-1] != c.last || len(steps) != c.steps {
				t.Errorf("the client: got %v and %d steps:\n%s\nwant %d steps, the last one %q", err, len(steps), out, c.steps, c.last)
			}
		})
	}
}

// A session from a ready sandbox has its own variables and directory, and its kernel has them again after a restart.
func TestASessionFromATemplateHasItsOwnEnvironmentAndDirectory(t *testing.T) {
	t.Parallel()
	s := templated(t, newHome(t), "--warm=1", "--templates=[{name: python}]")
	s.awaitTemplate(t, "ready", func(x cellhold.Template) bool { return x.Ready > 0 })
	id := s.session(t, client.CreateSession{Template: "python", Env: map[string]string{"MINE": "it's \"1\"\n"}, Dir: "/home/user", Startup: "import os; started = os.getcwd()"})
	const show = "import os; print(os.environ['MINE'], os.getcwd(), started, open('f').read())"
	if _, err := s.WriteFile(t.Context(), id, "f", strings.NewReader("relative"), 0); err != nil {
		t.Fatal(err)
	}
	want := "it's \"1\"\n /home/user /home/user relative\n"
	if got := s.must(t, id, show); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, id, show); got != want {
		t.Errorf("after a restart: got %q, want %q", got, want)
	}
	if got := s.must(t, id, "print([n for n in dir() if n in ('base64', 'json', 's')])"); got != "[]\n" {
		t.Errorf("got the names %s, want none of the preparation", got)
	}
}

// At its deadline a session hibernates although it is used, and then only a request resumes it.
func TestASessionHibernatesAtItsDeadlineAndWaitsForARequest(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Lifetime: 2, AtDeadline: cellhold.DeadlineHibernate, Resume: cellhold.ResumeOnRequest})
	for at, err := range s.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if at.Type == cellhold.EventSessionHibernated {
			break
		}
	}
	if _, err := s.Execute(t.Context(), id, client.Code{Code: "1"}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("use of a session at its deadline: got %v, want a conflict", err)
	}
	info, err := s.Resume(t.Context(), id)
	if err != nil || time.Until(info.Deadline) <= 0 {
		t.Errorf("got %+v, %v; want a session with a new deadline", info, err)
	}
}
