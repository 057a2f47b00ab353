package embedded_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/sandboxtest"
)

// self lets the probe in a sandbox do something itself, which must succeed.
func self(t *testing.T, c *http.Client, what, arg string) {
	t.Helper()
	resp, err := c.Get("http://guest/self?what=" + what + "&arg=" + url.QueryEscape(arg))
	if err != nil {
		t.Fatalf("%s %s: %v", what, arg, err)
	}
	defer resp.Body.Close()
	var a sandboxtest.Attempt
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || a.Err != "" {
		t.Fatalf("%s %s: %s %v", what, arg, a.Err, err)
	}
}

// TestASaveNeverEndsTheSandbox: gVisor's kernel needs memory within the limit of the sandbox while it saves itself. Some
// of the states would need more than the limit.
func TestASaveNeverEndsTheSandbox(t *testing.T) {
	d := open(t)
	defer d.Close()
	for _, state := range []struct {
		does  string // what the sandbox does before the save
		saved bool
	}{
		{"hoard pipes 10", true},
		{"hoard pipes 150", false},
		{"hoard pairs 40", false},
		{"hoard connections 5", false},
		{"hoard files 3000", true},
		{"hoard pipes 30, eat 60", os.Geteuid() != 0}, // without root the limit holds for the save alone
		{"eat 80", true},
	} {
		t.Run(state.does, func(t *testing.T) {
			s := spec(name("full"))
			s.Limits.Memory = 128 << 20
			box, err := d.Create(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			defer box.Destroy(t.Context())
			c := guestClient(box)
			for what := range strings.SplitSeq(state.does, ", ") {
				what, arg, _ := strings.Cut(what, " ")
				self(t, c, what, arg)
			}
			defer d.RemoveSnapshot(t.Context(), "full")
			err = box.Snapshot(t.Context(), "full")
			if _, refused := errors.AsType[*sandbox.MemoryError](err); err != nil && !refused {
				t.Errorf("the save: got %v, want no error or a sandbox.MemoryError", err)
			}
			t.Logf("the save: %v", err)
			if state.saved != (err == nil) {
				t.Errorf("the sandbox is saved: %t, want %t", err == nil, state.saved)
			}
			get(t, c, "http://guest/health")
			if err == nil { // the saved state also fits into the limit
				s.ID, s.From = sandbox.ID(name("again")), "full"
				again, err := d.Create(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				get(t, guestClient(again), "http://guest/health")
				if err := again.Destroy(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
