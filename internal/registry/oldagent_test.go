package registry_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/session"
)

// oldAgentDriver makes sandboxes. A sandbox that continues from a snapshot has an old agent.
type oldAgentDriver struct {
	*fake.Driver
	agent string // address of the old agent
}

func (d oldAgentDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	sb, err := d.Driver.Create(ctx, s)
	if err != nil || s.From == "" {
		return sb, err
	}
	return oldAgentSandbox{sb, d.agent}, nil
}

type oldAgentSandbox struct {
	sandbox.Sandbox
	agent string
}

func (b oldAgentSandbox) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", b.agent)
}

func TestASnapshotWithATooOldAgentIsKeptAndTheSessionCanBeRestarted(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/info" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"version": 1, "boot": "long-ago", "kernels": [], "commands": []}`))
	}))
	defer agent.Close()
	h := newHost(t)
	s := h.serve(t, func(o *registry.Options) {
		o.Driver = oldAgentDriver{o.Driver.(*fake.Driver), agent.Listener.Addr().String()}
	}).create(t, registry.CreateRequest{})
	run(t, s, "set x 42")
	hibernate(t, s)
	_, err := s.Execute(t.Context(), session.ExecuteRequest{Code: "get x"})
	if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "a version that this server does not support") {
		t.Errorf("a cell in a session with an old agent: %v", err)
	}
	if state, saved := s.Info().State, h.saved(); state != cellhold.SessionHibernated || len(saved) != 1 {
		t.Errorf("the session is %s, and the snapshots are %v", state, saved)
	}
	if err := s.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if c := run(t, s, "set x 1"); c.Status != cellhold.StatusOK {
		t.Errorf("after the restart: %s", c.Status)
	}
}
