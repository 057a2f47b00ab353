package command_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/agent/command"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

func open(t *testing.T, o command.Options) *command.Commands {
	t.Helper()
	o.Spawner = fake.Spawner{}
	c, err := command.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Open(t.Context())
	t.Cleanup(c.Close)
	return c
}

// follow reads the events until the command is done, and acknowledges them if ack is set.
func follow(t *testing.T, c *command.Commands, id cellhold.CommandID, ack bool) (out []byte, dropped int64, done cellhold.CommandDoneContent) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.Serve(w, r, 0) }))
	defer server.Close()
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for lines := json.NewDecoder(res.Body); ; {
		var e guestapi.Event
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if ack {
			c.Ack(e.Seq)
		}
		if e.Command != id {
			continue
		}
		switch e.Type {
		case cellhold.EventStream:
			var s cellhold.StreamContent
			if err := json.Unmarshal(e.Content, &s); err != nil {
				t.Fatal(err)
			}
			out = append(append(out, s.Data...), s.Text...)
		case cellhold.EventOutputDropped:
			var d cellhold.OutputDroppedContent
			_ = json.Unmarshal(e.Content, &d)
			dropped += d.Bytes
		case cellhold.EventCommandDone:
			if err := json.Unmarshal(e.Content, &done); err != nil {
				t.Fatal(err)
			}
			return out, dropped, done
		}
	}
}

func start(t *testing.T, c *command.Commands, id cellhold.CommandID, line string) {
	t.Helper()
	if _, err := c.Start(id, guestapi.StartCommand{Line: line, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
}

func TestACommandWaitsForItsReaderAndLosesNothing(t *testing.T) {
	const size = 2 << 20
	c := open(t, command.Options{Spool: 256 << 10})
	start(t, c, "x1", "bytes 2097152")
	out, dropped, done := follow(t, c, "x1", true)
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i)
	}
	if !bytes.Equal(out, want) || dropped != 0 || done.Status != cellhold.CommandOK {
		t.Errorf("%d bytes, %d dropped, %+v", len(out), dropped, done)
	}
}

func TestACommandWithoutAReaderContinuesAfterATimeout(t *testing.T) {
	const size = 2 << 20
	c := open(t, command.Options{Spool: 256 << 10, Timing: command.Timing{Reader: 50 * time.Millisecond}})
	start(t, c, "x1", "bytes 2097152")
	out, dropped, done := follow(t, c, "x1", false)
	if done.Status != cellhold.CommandOK || dropped == 0 || int64(len(out))+dropped != size || len(out) > 512<<10 {
		t.Errorf("%d bytes and %d dropped make %d, want %d; %+v", len(out), dropped, int64(len(out))+dropped, size, done)
	}
}

func TestACommandThatDoesNotReadRefusesMoreInput(t *testing.T) {
	c := open(t, command.Options{Timing: command.Timing{Input: 50 * time.Millisecond}})
	start(t, c, "x1", "wait")
	big := strings.Repeat("x", 1<<20)
	taken, err := c.Input(t.Context(), "x1", strings.NewReader(big), 0, true)
	if cellhold.KindOf(err) != cellhold.Exhausted || taken == 0 || taken >= int64(len(big)) {
		t.Errorf("%d bytes taken, %v", taken, err)
	}
	if again, err := c.Input(t.Context(), "x1", strings.NewReader(big[:taken]), 0, false); err != nil || again != taken {
		t.Errorf("a second request with the same input: %d, %v", again, err)
	}
	if err := c.Kill("x1"); err != nil {
		t.Error(err)
	}
	if _, _, done := follow(t, c, "x1", true); done.Signal != "KILL" {
		t.Errorf("the command ended with %+v, want the signal KILL", done)
	}
}

func TestARepeatedStartRunsTheCommandOnce(t *testing.T) {
	c := open(t, command.Options{})
	r := guestapi.StartCommand{Line: "echo once", Timeout: time.Minute}
	for i := range 3 {
		fresh, err := c.Start("x1", r)
		if err != nil || fresh != (i == 0) {
			t.Errorf("start %d: %v, %v", i, fresh, err)
		}
		if i == 0 {
			follow(t, c, "x1", true)
		}
	}
	if ids := c.IDs(); len(ids) != 0 {
		t.Errorf("commands after the acknowledgement: %v, want none", ids)
	}
	if err := c.Kill("x1"); err != nil {
		t.Errorf("kill of an ended command: %v", err)
	}
	if err := c.Kill("x2"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("kill of an unknown command: %v", err)
	}
}

func TestManyCommandsLeaveNoState(t *testing.T) {
	c := open(t, command.Options{})
	for range 500 {
		id := cellhold.NewCommandID()
		start(t, c, id, "echo x;exit 1")
		if out, _, done := follow(t, c, id, true); string(out) != "x\n" || done.Code != 1 {
			t.Fatalf("%q, %+v", out, done)
		}
	}
	if ids := c.IDs(); len(ids) != 0 {
		t.Errorf("%d commands are kept, want none", len(ids))
	}
}
