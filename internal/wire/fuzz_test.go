package wire

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"cellhold/internal/guestapi"
)

// FuzzDeliver delivers any message of a kernel to two clients. Package guest has checked that the parts are objects.
func FuzzDeliver(f *testing.F) {
	f.Add("iopub", `{"msg_id":"1","msg_type":"status","session":"s"}`, `{"msg_id":"r1"}`, `{"execution_state":"idle"}`, "")
	f.Add("shell", `{"msg_id":"1","msg_type":"x_reply"}`, `{"msg_id":"r1"}`, `{}`, "")
	f.Add("stdin", `{"msg_id":"1","msg_type":"input_request"}`, `{"msg_id":"r2","msg_id":"r1"}`, `{"execution_state":7}`, "")
	f.Add("control", `{"msg_id":1}`, `{"MSG_ID":"r2"}`, `{"execution_state":[]}`, "No.")
	f.Fuzz(func(t *testing.T, channel, header, parent, content, problem string) {
		for _, part := range []string{header, parent, content} {
			var object map[string]json.RawMessage
			if json.Unmarshal([]byte(part), &object) != nil || object == nil {
				return
			}
		}
		k := newKernel(New(nil, "", nil, slog.New(slog.DiscardHandler)), "k")
		var clients []*client
		for i := range 2 {
			c := newClient(k, fmt.Sprint(i))
			c.connect()
			k.clients[c.name] = c
			clients = append(clients, c)
		}
		k.requests["r1"] = &request{client: clients[0], id: "r1", header: raw("x_request", "r1"), channel: Shell, kind: "x"}
		for range 2 {
			k.deliver(guestapi.WireMessage{Channel: channel, Header: []byte(header), Parent: []byte(parent), Content: []byte(content), Problem: problem})
		}
		answers := 0
		for i, c := range clients {
			for _, m := range c.queue {
				if m.Channel == IOPub {
					continue
				}
				if answers++; i != 0 || m.Channel != Shell {
					t.Errorf("client %d got %s on %s", i, m.Content, m.Channel)
				}
			}
			k.drop(c)
		}
		if answers > 1 || k.hub.held != 0 {
			t.Errorf("%d answers, %d bytes are held", answers, k.hub.held)
		}
	})
}
