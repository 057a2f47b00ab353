package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// Copies of a session must not have equal random numbers or identities, even if generators existed before the fork.
// The test also checks the values that all copies share, as the threat model says.
func TestForksHaveDifferentRandomNumbersAndIdentities(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("testdata/identity.py")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, newHome(t))
	parent := s.session(t, client.CreateSession{})
	s.must(t, parent, string(code)+"\nused()")
	if _, err := s.AddKernel(t.Context(), parent, "bash", "bash"); err != nil {
		t.Fatal(err)
	}
	if c := s.runOn(t, parent, "bash", "echo $RANDOM"); c.Status != cellhold.StatusOK {
		t.Fatalf("Bash ended with %s", c.Status)
	}
	forks, err := s.Fork(t.Context(), parent, 2, "")
	if err != nil {
		t.Fatal(err)
	}
	differ := map[string]map[any]bool{}
	equal := map[string]map[any]bool{}
	note := func(m map[string]map[any]bool, name string, value any) {
		if m[name] == nil {
			m[name] = map[any]bool{}
		}
		m[name][value] = true
	}
	ids := []cellhold.SessionID{parent, forks[0].ID, forks[1].ID}
	for _, id := range ids {
		var is struct{ Differ, Equal map[string]any }
		if err := json.Unmarshal([]byte(s.must(t, id, "identity()")), &is); err != nil {
			t.Fatal(err)
		}
		for name, value := range is.Differ {
			note(differ, name, value)
		}
		for name, value := range is.Equal {
			note(equal, name, value)
		}
		note(differ, "Bash", strings.TrimSpace(text(s.runOn(t, id, "bash", "echo $RANDOM $RANDOM"))))
	}
	for name, values := range differ {
		if len(values) != len(ids) {
			t.Errorf("%s has %d values in %d copies: %v", name, len(values), len(ids), values)
		}
	}
	if len(differ) < 19 {
		t.Errorf("only %d values were compared", len(differ))
	}
	for name, values := range equal {
		if len(values) != 1 {
			t.Errorf("%s differs between copies, but the threat model says that all copies share it: %v", name, values)
		}
	}
}
