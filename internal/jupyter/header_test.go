package jupyter

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheHeadersOfUsualKernelsArePlain(t *testing.T) {
	want := Header{MsgID: "1_2", MsgType: "status", Session: "s", Username: "u", Date: "2026-11-29T10:19:27.123456Z", Version: "5.3"}
	for _, raw := range []string{
		`{"msg_id": "1_2", "msg_type": "status", "username": "u", "session": "s", "date": "2026-11-29T10:19:27.123456Z", "version": "5.3"}`,
		" {\n\"msg_id\":\"1_2\",\"msg_type\":\"status\"\t,\"username\":\"x\",\"session\":\"s\",\"date\" : \"2026-11-29T10:19:27.123456Z\",\"version\":\"5.3\",\"username\":\"u\"} ",
	} {
		if h, ok := plainHeader([]byte(raw)); !ok || h != want {
			t.Errorf("%s became %+v, %v", raw, h, ok)
		}
	}
	for _, raw := range []string{`{`, `{"msg_id"}`, `{"msg_id":1}`, `{"msg_id":"1",}`, `{"MSG_ID":"1"}`, `{"a":"1"}`, `{"date":"\u0031"}`, `{"date":"ä"}`, `{} x`, `}`, `{}`, ``} {
		if h, ok := plainHeader([]byte(raw)); ok {
			t.Errorf("%s is plain: %+v", raw, h)
		}
	}
}

// FuzzPlainHeader compares the two decoders.
func FuzzPlainHeader(f *testing.F) {
	f.Add([]byte(`{"msg_id": "1", "msg_type": "status", "msg_id": "2"}`))
	f.Add([]byte(`{"date":"1", "version" : "", "session":"x","username":"y"} `))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := plainHeader(b)
		if !ok {
			return
		}
		var want Header
		if err := json.Unmarshal(b, &want); err != nil || h != want {
			t.Errorf("%q became %+v, want %+v, %v", b, h, want, err)
		}
	})
}

// TestTheNamesInAHeaderMatchExactly: a kernel reads them so, and the agent must see the same message.
func TestTheNamesInAHeaderMatchExactly(t *testing.T) {
	for raw, want := range map[string]Header{
		`{"msg_type":"execute_request","MSG_TYPE":"comm_msg"}`:           {MsgType: "execute_request"},
		`{"Msg_Id":"1","\u006dsg_type":"x","date":5,"m\u017fg_id":"2"}`:  {MsgType: "x"},
		`{"msg_id":"1","msg_id":"é","date":[{"date":1}],"session":null}`: {MsgID: "é"},
	} {
		if h, _, err := DecodeHeader([]byte(raw)); err != nil || h != want {
			t.Errorf("%s became %+v, %v; want %+v", raw, h, err, want)
		}
	}
	for _, raw := range []string{`{"msg_id":1}`, `{"date":1,"session":{}}`, `[]`, `"x"`, `1`, ``, `{"msg_id":"ä"`} {
		if h, _, err := DecodeHeader([]byte(raw)); err == nil {
			t.Errorf("%s became %+v", raw, h)
		}
	}
}

func TestAParentHeaderIsDecodedAgainWhenItDiffers(t *testing.T) {
	var p parentHeader
	for _, raw := range []string{`{"msg_id":"1"}`, `{"msg_id":"1"}`, `{"msg_id":"2","new":1}`, "null", "{}", `{"msg_id":"1"}`} {
		b := []byte(raw)
		h, got, err := p.decode(b)
		wantHeader, want, wantErr := DecodeHeader([]byte(raw))
		if d := cmp.Diff(wantHeader, h); d != "" || string(got) != string(want) || err != nil || wantErr != nil {
			t.Errorf("%s became %s %+v, %v", raw, got, h, err)
		}
		clear(b) // the memory of the message is used again
	}
	if _, _, err := p.decode([]byte("[]")); err == nil {
		t.Error("a list is a header")
	}
}
