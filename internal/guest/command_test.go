package guest

import (
	"encoding/json"
	"errors"
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
		e, err := commandEvents.parse(line, true, 0)
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
			if json.Unmarshal(e.Content, &d) != nil || d.Code < 0 || d.Code > 255 || d.Status == cellhold.CommandOOM || d.Status == cellhold.CommandLost && !strings.Contains(d.Cause, "was refused") || strings.ContainsAny(d.Cause+d.Signal, "\x1b\n") {
				t.Fatalf("an invalid content was accepted: %s", e.Content)
			}
		case cellhold.EventOutputDropped:
		default:
			t.Fatalf("an event of type %s was accepted", e.Type)
		}
	})
}

func TestAnAgentCannotReportCommandStatesOfTheHost(t *testing.T) {
	for line, want := range map[string]cellhold.EventType{
		`{"seq":1,"command":"x1","type":"command_started","content":{}}`:                                      cellhold.EventOutputDropped,
		`{"seq":1,"command":"x1","type":"session_ended","content":{"reason":"asked"}}`:                        cellhold.EventOutputDropped,
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdin","text":"a"}}`:                      cellhold.EventOutputDropped,
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdout","text":"a","data":"aGk="}}`:       cellhold.EventOutputDropped,
		`{"seq":1,"command":"x1","type":"stream","content":` + strings.Repeat("[", 150):                       cellhold.EventOutputDropped,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"oom","exit_code":137}}`:           cellhold.EventCommandDone,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"ok","exit_code":1}}`:              cellhold.EventCommandDone,
		`{"seq":1,"command":"x1","type":"command_done","content":{"status":"exit","exit_code":1000}}`:         cellhold.EventCommandDone,
		`{"seq":1,"command":"../x","type":"stream","content":{"name":"stdout","text":"a"}}`:                   "",
		`{"seq":1,"cell":"c1","type":"cell_done","content":{"status":"ok"}}`:                                  "",
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdout","text":"` + long(1) + `"}}`:       cellhold.EventOutputDropped,
		`{"seq":1,"command":"x1","type":"stream","content":{"name":"stdout","text":"` + long(0) + `"}}`:       cellhold.EventStream,
		`{"seq":1,"command":"x1","type":"output_dropped","content":{"bytes":1,"messages":1,"reason":"Mine"}}`: cellhold.EventOutputDropped,
	} {
		e, err := commandEvents.parse([]byte(line), true, 0)
		if err != nil || e.Type != want || e.Seq != 1 || strings.Contains(string(e.Content), "Mine") {
			t.Errorf("%.100s: %s %.200s, %v, want %q", line, e.Type, e.Content, err, want)
		}
		if refused := e.Type == cellhold.EventCommandDone; refused && !strings.Contains(string(e.Content), `"status":"lost"`) {
			t.Errorf("%s: %s, want the status lost", line, e.Content)
		}
	}
	if _, err := commandEvents.parse([]byte(`{"seq":3,"command":"x1","type":"stream","content":{}}`), true, 3); !errors.Is(err, guestapi.ErrForm) {
		t.Errorf("a number that does not increase: %v, want an error of the protocol", err)
	}
}

// long returns a text with that many bytes more than an event can have.
func long(more int) string { return strings.Repeat("x", guestapi.MaxStream+more) }
