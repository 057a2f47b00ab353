package guest

import (
	"encoding/json"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
)

func FuzzCommandEventsOfAHostileAgent(f *testing.F) {
	for _, s := range []string{
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdout","text":"a"}}`,
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stderr","text":"","data":"/wA="}}`,
		`{"seq":1,"command":"x1","type":"output_dropped","content":{"bytes":5,"messages":1}}`,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"signal","exit_code":137,"signal":"KILL"}}`,
		`{"seq":1,"command":"x1","type":"command_started","content":{}}`,
		`{"seq":1,"cell":"c1","type":"cell_done","content":{"status":"ok"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseCommandEvent(line, 0)
		if err != nil || e.Type == "" {
			return
		}
		if e.Seq < 1 || e.Cell != "" || !cellPattern().MatchString(string(e.Command)) || !json.Valid(e.Content) || len(e.Content) > maxCommandEvent {
			t.Fatalf("an invalid event was accepted: %+v", e)
		}
		var s cellhold.StreamContent
		var d cellhold.CommandDoneContent
		switch e.Type {
		case cellhold.EventStream:
			if json.Unmarshal(e.Content, &s) != nil || len(s.Text)+len(s.Data) > guestapi.MaxStream {
				t.Fatalf("an invalid content was accepted: %s", e.Content)
			}
		case cellhold.EventCommandDone:
			if json.Unmarshal(e.Content, &d) != nil || d.Code < 0 || d.Code > 255 || d.Status == cellhold.CommandOOM || d.Status == cellhold.CommandLost || strings.ContainsAny(d.Cause+d.Signal, "\x1b\n") {
				t.Fatalf("an invalid content was accepted: %s", e.Content)
			}
		case cellhold.EventOutputDropped:
		default:
			t.Fatalf("an event of type %s was accepted", e.Type)
		}
	})
}

func TestAnAgentCannotReportCommandStatesOfTheHost(t *testing.T) {
	for _, line := range []string{
		`{"seq":1,"command":"x1","type":"command_started","content":{}}`,
		`{"seq":1,"command":"x1","type":"session_ended","content":{"reason":"asked"}}`,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"oom","exit_code":137}}`,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"ok","exit_code":1}}`,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"exit","exit_code":1000}}`,
		`{"seq":1,"command":"../x","type":"stream","content":{"name":"stdout","text":"a"}}`,
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdin","text":"a"}}`,
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdout","text":"a","data":"aGk="}}`,
	} {
		if e, err := parseCommandEvent([]byte(line), 0); err != nil || e.Type != "" {
			t.Errorf("%s: %+v, %v", line, e, err)
		}
	}
	if _, err := parseCommandEvent([]byte(`{"seq":3,"command":"x1","type":"stream","content":{}}`), 3); err == nil {
		t.Error("a number that does not increase was accepted")
	}
}
