package registry_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
)

// change replaces bytes that the agent sends. Both texts have the same length.
type change struct{ from, to string }

// changingDriver makes sandboxes whose agents send changed bytes.
type changingDriver struct {
	*fake.Driver
	now *atomic.Pointer[change]
}

func (d changingDriver) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	sb, err := d.Driver.Create(ctx, s)
	return changingSandbox{sb, d.now}, err
}

type changingSandbox struct {
	sandbox.Sandbox
	now *atomic.Pointer[change]
}

func (b changingSandbox) Dial(ctx context.Context) (net.Conn, error) {
	c, err := b.Sandbox.Dial(ctx)
	return changingConn{c, b.now}, err
}

type changingConn struct {
	net.Conn
	now *atomic.Pointer[change]
}

func (c changingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if to := c.now.Load(); to != nil {
		copy(p, bytes.ReplaceAll(p[:n], []byte(to.from), []byte(to.to)))
	}
	return n, err
}

func TestAHostileAgentEndsItsCellsAndNotTheServer(t *testing.T) {
	for _, test := range []struct {
		name, code string
		change     change
		status     cellhold.CellStatus
		want       string // in the cause, or in the outputs
	}{
		{"a refused output", "print on", change{`"name":"stdout"`, `"name":"stdxxx"`}, cellhold.StatusOK, "An output was left out, because its content"},
		{"an output without JSON", "print on", change{`"content":{"name"`, `"content":{name"}`}, cellhold.StatusOK, "An output was left out, because its content"},
		{"a refused end", "print on", change{`"status":"ok"`, `"status":"ox"`}, cellhold.StatusError, "The agent's report of the end was refused"},
		{"an event without a number", "print on", change{`{"seq":`, `{"sex":`}, cellhold.StatusLost, "because the agent broke the protocol"},
		{"a line without JSON", "print on", change{`"type":"stream"`, `"type" "stream"`}, cellhold.StatusLost, "because the agent broke the protocol"},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := &atomic.Pointer[change]{}
			s := newHost(t).serve(t, func(o *registry.Options) {
				o.Driver = changingDriver{o.Driver.(*fake.Driver), now}
			}).create(t, registry.CreateRequest{})
			now.Store(&test.change)
			c := run(t, s, test.code)
			shown := c.Cause
			for _, o := range c.Outputs {
				shown += string(o.Data["text/plain"])
			}
			if c.Status != test.status || !strings.Contains(shown, test.want) {
				t.Errorf("the cell ended with %s: %q, want %s: %q", c.Status, shown, test.status, test.want)
			}
		})
	}
}
