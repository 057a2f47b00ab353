package fastapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	user = Field{Name: "user_id", Min: 1, Max: 256}
	code = Field{Name: "code"}
)

// observed is one exchange with a real FastAPI application that has the same fields.
type observed struct {
	Name, Path, Type, Body, Base64 string
	Status                         int
	Reply                          any
}

// deliberate are the exchanges where this package answers differently, with the reasons.
var deliberate = map[string]string{
	"a form with bytes that are no text": "labels that are not text could become equal when stored",
	"JSON without a type":                "older versions of FastAPI read such a body as JSON, and some clients rely on it",
	"NaN":                                "FastAPI fails with 500",
}

func readObserved(t *testing.T) []observed {
	t.Helper()
	text, err := os.ReadFile("testdata/observed.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []observed }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

func (o observed) request(t *testing.T) *http.Request {
	t.Helper()
	body := o.Body
	if o.Base64 != "" {
		raw, err := base64.StdEncoding.DecodeString(o.Base64)
		if err != nil {
			t.Fatal(err)
		}
		body = string(raw)
	}
	r := httptest.NewRequest("POST", o.Path, strings.NewReader(body))
	if o.Type != "" {
		r.Header.Set("Content-Type", o.Type)
	}
	return r
}

func refusalOf(r *http.Request) *Refusal {
	if r.URL.Path == "/execute" {
		_, refused := JSONFields(r, user, code)
		return refused
	}
	_, refused := FormField(r, user)
	return refused
}

func TestBodiesAreRefusedLikeInFastAPI(t *testing.T) {
	for _, o := range readObserved(t) {
		if deliberate[o.Name] != "" {
			continue // TestEachDeliberateDifferenceFromFastAPIHasItsAnswer tests it
		}
		t.Run(o.Name, func(t *testing.T) {
			refused := refusalOf(o.request(t))
			if refused == nil {
				if o.Status != http.StatusOK && o.Name != "an exception" {
					t.Fatalf("the body was accepted, want status %d as in FastAPI", o.Status)
				}
				return
			}
			if refused.Status != o.Status {
				t.Errorf("got status %d, want %d as in FastAPI", refused.Status, o.Status)
			}
			if diff := cmp.Diff(roundTrip(t, refused.Body()), o.Reply); diff != "" {
				t.Errorf("the body differs from FastAPI (-got +want):\n%s", diff)
			}
		})
	}
}

func roundTrip(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEachDeliberateDifferenceFromFastAPIHasItsAnswer(t *testing.T) {
	want := map[string]string{
		"a form with bytes that are no text": "string_unicode",
		"NaN":                                "json_invalid",
	}
	for _, o := range readObserved(t) {
		if deliberate[o.Name] == "" {
			continue
		}
		refused := refusalOf(o.request(t))
		if want[o.Name] == "" {
			if refused != nil {
				t.Errorf("%s: got the refusal %v, want the fields", o.Name, refused.Detail)
			}
			continue
		}
		if refused == nil || refused.Detail.([]Fault)[0].Type != want[o.Name] {
			t.Errorf("%s: got %+v, want a fault of type %s", o.Name, refused, want[o.Name])
		}
	}
}

func TestFieldsOfFormsAndJSONAreRead(t *testing.T) {
	for _, tt := range []struct{ name, contentType, body, user, code string }{
		{"form", "application/x-www-form-urlencoded", "user_id=a+b%2F%C3%A9", "a b/é", ""},
		{"form with a bad escape", "application/x-www-form-urlencoded", "user_id=%zz+1", "%zz 1", ""},
		{"form with two", "application/x-www-form-urlencoded", "user_id=ann&user_id=bob", "bob", ""},
		{"parts", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"user_id\"\r\n\r\n../ann\r\n--b--\r\n", "../ann", ""},
		{"JSON", "application/json", `{"user_id":"ann","code":"print(\"é\")\n","x":1}`, "ann", "print(\"é\")\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			if tt.name != "JSON" {
				got, refused := FormField(r, user)
				if refused != nil || got != tt.user {
					t.Errorf("got %q, %v; want %q", got, refused, tt.user)
				}
				return
			}
			got, refused := JSONFields(r, user, code)
			if refused != nil || cmp.Diff(got, []string{tt.user, tt.code}) != "" {
				t.Errorf("got %q, %v; want %q, %q", got, refused, tt.user, tt.code)
			}
		})
	}
}

func TestABodyAboveTheLimitIs413(t *testing.T) {
	for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"} {
		body := "--b\r\nContent-Disposition: form-data; name=\"user_id\"\r\n\r\n" + strings.Repeat("x", 1000)
		r := httptest.NewRequest("POST", "/", nil)
		r.Body = http.MaxBytesReader(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)).Body, 500)
		r.Header.Set("Content-Type", contentType)
		var refused *Refusal
		if contentType == "application/json" {
			_, refused = JSONFields(r, user)
		} else {
			_, refused = FormField(r, user)
		}
		if refused == nil || refused.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %+v, want 413", contentType, refused)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"user_id":"ann","code":"1"}`, `{"a":[1,2.5e3,null,{"b":"\u00e9\n"}]}`, `[`, `{"user_id":-`, "\"\\u12", `{"a":1.}`, `[[[`, `01`, `nul`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		at, why := jsonFault(body)
		if valid := json.Valid(body); valid != (why == "") {
			t.Fatalf("got the fault %q for JSON that is valid: %v", why, valid)
		}
		if at < 0 || at > len(body) {
			t.Fatalf("got the position %d, want 0 to %d", at, len(body))
		}
		if values, refused := parseObject(body, []Field{user, code}); refused == nil {
			if len(values) != 2 || values[0] == "" || len(values[0]) > user.Max {
				t.Fatalf("got the fields %q, want 2 with a user of 1 to %d bytes", values, user.Max)
			}
		} else if _, err := json.Marshal(refused.Body()); err != nil {
			t.Fatalf("encode the refusal: %v", err)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "user_id=ann&x=%zz")
	f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"user_id\"\r\n\r\nann\r\n--b--\r\n")
	f.Add("multipart/form-data; boundary=", "--\r\n\r\n")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		value, refused := FormField(r, user)
		if refused == nil && (value == "" || len(value) > user.Max) {
			t.Fatalf("got the field %q, want 1 to %d bytes", value, user.Max)
		}
		if refused != nil {
			if _, err := json.Marshal(refused.Body()); err != nil {
				t.Fatalf("encode the refusal: %v", err)
			}
		}
	})
}
