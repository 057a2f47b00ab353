package process_test

import (
	"encoding/json"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

// echoes makes a kernel return the data and the buffers of comms.
const echoes = `
def opened(comm, message):
    comm.send(data=message["content"]["data"], buffers=message["buffers"])
get_ipython().kernel.comm_manager.register_target("echo", opened)
`

// answer reads the wire up to a message of a type whose parent has the id. It checks that the parent has all fields.
func (r *rig) answer(w *guest.Wire, id, typ string) guestapi.WireMessage {
	r.Helper()
	for {
		m, err := w.Receive()
		if err != nil {
			r.Fatalf("before %s for %s: %v", typ, id, err)
		}
		var h, p map[string]any
		if json.Unmarshal(m.Header, &h) != nil || json.Unmarshal(m.Parent, &p) != nil {
			r.Fatalf("the headers are %s and %s", m.Header, m.Parent)
		}
		if p["msg_id"] != id || h["msg_type"] != typ {
			continue
		}
		if p["session"] != "theirs" || p["field"] != "new" {
			r.Errorf("the parent of %s is %s", typ, m.Parent)
		}
		return m
	}
}

func rawHeader(id, typ string) []byte {
	return []byte(`{"msg_id":"` + id + `","msg_type":"` + typ + `","session":"theirs","username":"u","version":"5.3","date":"2026-01-02T03:04:05.000006Z","field":"new"}`)
}

func TestARealKernelSpeaksOverAWire(t *testing.T) {
	r := newRig(t)
	w, err := r.kernel.OpenWire(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	submit := func(id cellhold.CellID, code string, q guestapi.ExecuteRequest) cellhold.CellDoneContent {
		t.Helper()
		q.Header = rawHeader(string(id), "execute_request")
		if err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: id, Code: code, Timeout: patience, Request: &q}); err != nil {
			t.Fatal(err)
		}
		done, _ := r.finish(id)
		return done
	}
	if done := submit("x1", echoes, guestapi.ExecuteRequest{Silent: true}); done.Status != cellhold.StatusOK || done.ExecutionCount != 0 {
		t.Errorf("the silent cell ended with %+v", done)
	}
	if done := submit("x2", "number = 42", guestapi.ExecuteRequest{StoreHistory: true, UserExpressions: []byte(`{"a":"number"}`)}); done.ExecutionCount != 1 {
		t.Errorf("the cell ended with %+v", done)
	}
	r.answer(w, "x2", "execute_input")
	send := func(id, typ, content string, buffers ...[]byte) {
		t.Helper()
		m := guestapi.WireMessage{Channel: "shell", Header: rawHeader(id, typ), Content: []byte(content), Buffers: buffers}
		if err := w.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	send("m1", "comm_open", `{"comm_id":"c1","target_name":"echo","data":{"a":[1]}}`, []byte("\x00\xff"), []byte("two"))
	m := r.answer(w, "m1", "comm_msg")
	if len(m.Buffers) != 2 || string(m.Buffers[0]) != "\x00\xff" || string(m.Buffers[1]) != "two" || !strings.Contains(string(m.Content), `"c1"`) {
		t.Errorf("the comm sent %s with %q", m.Content, m.Buffers)
	}
	send("m2", "complete_request", `{"code":"numb","cursor_pos":4}`)
	if m := r.answer(w, "m2", "complete_reply"); !strings.Contains(string(m.Content), `"number"`) {
		t.Errorf("the completion is %s", m.Content)
	}
}
