package jupyter_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/jupytertest"

	"github.com/google/go-cmp/cmp"
)

// foreignHeader is a header that the client would encode in another way.
const foreignHeader = `{ "msg_type":"%s","msg_id" : "other-1", "session":"s<1>","date":12.50,"subshell_id":null,"é":[1, 2] }`

// foreign returns a message with foreignHeader.
func foreign(t testing.TB, ch jupyter.Channel, msgType string) jupyter.Message {
	t.Helper()
	raw := fmt.Appendf(nil, foreignHeader, msgType)
	h, _, err := jupyter.DecodeHeader(raw)
	if err != nil || h.MsgID != "other-1" || h.Date != "" {
		t.Fatalf("got %+v, %v", h, err)
	}
	return jupyter.Message{Channel: ch, Header: h, RawHeader: raw, Content: json.RawMessage(`{"code":"pri","cursor_pos":3}`)}
}

// wantParent checks that an answer has the header of the request. Over ZeroMQ kernels encode it again.
func wantParent(t testing.TB, m jupyter.Message, sent string) {
	t.Helper()
	if overStream(t) && string(m.RawParent) != sent {
		t.Errorf("the parent of %s is %s, want %s", m.Header.MsgType, m.RawParent, sent)
	}
	var got, want any
	if err := json.Unmarshal(m.RawParent, &got); err != nil {
		t.Fatal(err)
	}
	json.Unmarshal([]byte(sent), &want)
	if !cmp.Equal(got, want) {
		t.Errorf("the parent of %s lost a field: %s", m.Header.MsgType, cmp.Diff(want, got))
	}
}

func TestAnUnknownRequestIsAnsweredWithItsHeader(t *testing.T) {
	for _, ch := range []jupyter.Channel{jupyter.Shell, jupyter.Control} {
		_, c, b := toy(t, jupytertest.Options{})
		m := foreign(t, ch, "future_request")
		if err := c.SendMessage(m, 1<<20); err != nil {
			t.Fatal(err)
		}
		reply := b.wait(t, "other-1", "future_reply", "cursor_pos")
		if wantParent(t, reply, string(m.RawHeader)); reply.Channel != ch {
			t.Errorf("the reply came on %s, want %s", reply.Channel, ch)
		}
		for _, state := range []string{"busy", "idle"} {
			wantParent(t, b.wait(t, "other-1", "status", state), string(m.RawHeader))
		}
	}
}

func TestACommMessageKeepsItsBuffers(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{})
	m := foreign(t, jupyter.Shell, "comm_msg")
	m.Metadata = json.RawMessage(`{"deep": {"a":[1.0]}}`)
	m.Buffers = [][]byte{{0, 1, 2, 255}, []byte("<IDS|MSG>")}
	if err := c.SendMessage(m, 1<<20); err != nil {
		t.Fatal(err)
	}
	got := b.wait(t, "other-1", "comm_msg", "")
	wantParent(t, got, string(m.RawHeader))
	if !cmp.Equal(got.Buffers, m.Buffers) || string(got.Metadata) != string(m.Metadata) || string(got.Content) != string(m.Content) {
		t.Errorf("got %+v, want %+v", got, m)
	}
}

func TestAnExecutionHasTheHeaderOfItsRequest(t *testing.T) {
	_, c, b := toy(t, jupytertest.Options{})
	m := foreign(t, jupyter.Shell, "execute_request")
	id, err := c.Execute(jupyter.ExecuteRequest{MsgID: "other-1", Header: m.RawHeader, Code: "print x", UserExpressions: json.RawMessage(`{"a":"b"}`)})
	if err != nil || id != "other-1" {
		t.Fatalf("%q, %v", id, err)
	}
	wantParent(t, b.wait(t, id, "stream", "x"), string(m.RawHeader))
	reply := b.wait(t, id, "execute_reply", `{"text/plain":"b"}`)
	wantParent(t, reply, string(m.RawHeader))
}

func TestOwnRequestsHaveTheirOwnIDs(t *testing.T) {
	_, c, _ := toy(t, jupytertest.Options{})
	id, err := c.Send(jupyter.Control, "future_request", struct{}{})
	if err != nil || !jupyter.IsOwn(id) || jupyter.IsOwn(c.NewMsgID()) {
		t.Errorf("%q, %v; want an id of the client's own requests", id, err)
	}
	m, err := c.Request(soon(t), jupyter.Control, "future_request", struct{}{})
	if err != nil || !jupyter.IsOwn(m.Parent.MsgID) {
		t.Errorf("%+v, %v; want a reply to a request of the client's own", m, err)
	}
}
