package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// The generators of random numbers exist before the fork. The test also checks the values that all copies share, as the
// threat model says.
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
		t.Fatalf("Bash ended with %s, want ok", c.Status)
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
			t.Errorf("%s: got %d values in %d copies, want a different value in each: %v", name, len(values), len(ids), values)
		}
	}
	if len(differ) < 19 {
		t.Errorf("compared %d values, want at least 19", len(differ))
	}
	for name, values := range equal {
		if len(values) != 1 {
			t.Errorf("%s: got %v in the copies, want one value, because the threat model says so", name, values)
		}
	}
}
