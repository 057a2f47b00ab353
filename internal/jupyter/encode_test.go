package jupyter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// wantJSON checks that got is what encoding/json makes of v.
func wantJSON(t *testing.T, got []byte, v any) {
	t.Helper()
	if want, err := json.Marshal(v); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s, want %s (%v)", got, want, err)
	}
}

func TestTheRequestOfACellIsTheJSONOfTheEncoder(t *testing.T) {
	for _, r := range []ExecuteRequest{
		{Code: "1+1", StoreHistory: true},
		{Code: "a = \"<x>\"\n\tprint('\\\\') # \u2028 é \xff & \x00\r\x7f", AllowStdin: true},
		{Silent: true, StoreHistory: true},
		{UserExpressions: json.RawMessage(`{ "a" : "<1>" }`)},
	} {
		got, err := r.content()
		if err != nil {
			t.Fatal(err)
		}
		wantJSON(t, got, map[string]any{
			"code": r.Code, "silent": r.Silent, "store_history": r.StoreHistory && !r.Silent, "allow_stdin": r.AllowStdin,
			"user_expressions": object(r.UserExpressions), "stop_on_error": false,
		})
	}
	if _, err := (ExecuteRequest{UserExpressions: json.RawMessage("{")}).content(); err == nil {
		t.Error("half an object was encoded")
	}
}

func TestAHeaderIsTheJSONOfTheEncoder(t *testing.T) {
	for _, h := range []Header{
		{},
		{MsgID: "1", MsgType: "execute_request", Session: "s", Username: "jupyter", Date: "2026-11-29T10:19:27.123456Z", Version: "5.3"},
		{MsgID: "<\"\n\u2029\xff>", Username: strings.Repeat("ü", 100)},
	} {
		wantJSON(t, h.encode(), h)
	}
}

// FuzzString encodes any text.
func FuzzString(f *testing.F) {
	f.Add("print(\"a\")\n")
	f.Add("\u2028 \x7f\x1f\xc3")
	f.Fuzz(func(t *testing.T, s string) { wantJSON(t, appendString(nil, s), s) })
}
