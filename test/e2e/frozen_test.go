package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/client"
)

// sentryOf returns the process of a session's sandbox, and the id of the sandbox.
func sentryOf(t *testing.T, home string, id cellhold.SessionID) (pid int, sandbox string) {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(home, "run", "*", "record.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range records {
		var r struct {
			ID     string
			Labels map[string]string
			Sentry struct{ PID int }
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Labels["session"] == string(id) {
			return r.Sentry.PID, r.ID
		}
	}
	t.Fatalf("session %s has no sandbox", id)
	return 0, ""
}

// freeze stops all processes of a sandbox by its cgroup. The function that it returns lets them continue.
func freeze(t *testing.T, sandbox string) (thaw func()) {
	t.Helper()
	file, frozen, thawed := "/sys/fs/cgroup/freezer/cellhold/"+sandbox+"/freezer.state", "FROZEN", "THAWED"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		file, frozen, thawed = "/sys/fs/cgroup/cellhold/"+sandbox+"/cgroup.freeze", "1", "0"
	}
	set := func(state string) {
		if err := os.WriteFile(file, []byte(state), 0); err != nil {
			t.Error(err)
		}
	}
	set(frozen)
	return func() { set(thawed) }
}

// TestAFrozenSandboxDelaysNoOtherSession: an operator froze one sandbox and stopped another one, and the server starts.
func TestAFrozenSandboxDelaysNoOtherSession(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to freeze a sandbox")
	}
	t.Parallel()
	home := newHome(t)
	first := serve(t, home)
	ids := first.sessions(t, 3)
	for _, id := range ids {
		first.must(t, id, "x = 42")
	}
	first.signal(t, syscall.SIGKILL)
	_, frozen := sentryOf(t, home, ids[0])
	stopped, _ := sentryOf(t, home, ids[1])
	thaw := freeze(t, frozen)
	defer thaw()
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(stopped, syscall.SIGCONT)

	second := serve(t, home)
	if got := second.must(t, ids[2], "x"); got != "42" {
		t.Errorf("the session that answers has x = %s, want 42", got)
	}
	list, err := second.Sessions(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("got the sessions %+v, %v; want 3", list, err)
	}
	for _, x := range list { // the others did not have to end first
		if x.State != cellhold.SessionReady {
			t.Errorf("session %s is %s (%s), want ready", x.ID, x.State, x.Reason)
		}
	}
	new := second.session(t, client.CreateSession{})
	second.must(t, new, "1 + 1")
	thaw()
	if err := syscall.Kill(stopped, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids[:2] {
		if got := second.must(t, id, "x"); got != "42" {
			t.Errorf("a session that answers again has x = %s, want 42", got)
		}
	}
}
