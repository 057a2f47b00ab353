package jupyter

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testKey = "a key"

func sample() Message {
	return Message{
		Channel:   IOPub,
		Header:    Header{MsgID: "m1", MsgType: "stream", Session: "s", Username: "u", Date: "2026-01-02T03:04:05.000006Z", Version: "5.3"},
		Parent:    Header{MsgID: "p1", MsgType: "execute_request"},
		RawHeader: json.RawMessage(`{"new":1, "version":"5.3","date":"2026-01-02T03:04:05.000006Z","session":"s","username":"u","msg_type":"stream","msg_id":"m1"}`),
		RawParent: json.RawMessage(`{ "msg_type":"execute_request","msg_id":"p1" }`),
		Metadata:  json.RawMessage(`{"a":1}`),
		Content:   json.RawMessage(`{"name":"stdout","text":"hi"}`),
		Buffers:   [][]byte{{1, 2}, {}},
	}
}

func encoded(t testing.TB, m Message) [][]byte {
	t.Helper()
	return Encode(testKey, m)
}

// signed makes frames of any text, with a valid signature, because user code knows the key.
func signed(header, parent, metadata, content string) [][]byte {
	parts := [][]byte{[]byte(header), []byte(parent), []byte(metadata), []byte(content)}
	return append([][]byte{[]byte(delimiter), sign(testKey, parts)}, parts...)
}

func TestAMessageSurvivesEncodingAndDecoding(t *testing.T) {
	for name, prefix := range map[string][][]byte{
		"no topic, as iopub_welcome": nil,
		"one topic":                  {[]byte("stream.stdout")},
		"several identities":         {{0, 1}, {2}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode(testKey, IOPub, append(prefix, encoded(t, sample())...), 0)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(sample(), got); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func TestAMessageWithoutRawHeadersGetsThemFromItsFields(t *testing.T) {
	m := sample()
	m.RawHeader, m.RawParent = nil, nil
	got, err := Decode(testKey, IOPub, encoded(t, m), 0)
	if err != nil || got.Header != m.Header || got.Parent != m.Parent || !strings.HasPrefix(string(got.RawHeader), `{"msg_id":"m1",`) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestTheSignatureMatchesTheSpecification(t *testing.T) {
	// Made with Python: hmac.new(b"a key", b'{"h":1}{}{}{"c":2}', "sha256").hexdigest()
	const want = "03d0175f78cbf8fc9e3675d887b51d597b212bc77d50b028b8c8a9d289e68a62"
	got := sign(testKey, [][]byte{[]byte(`{"h":1}`), []byte(`{}`), []byte(`{}`), []byte(`{"c":2}`)})
	if string(got) != want {
		t.Fatalf("got %s", got)
	}
	if sign("", nil) != nil {
		t.Fatal("an empty key must give an empty signature")
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	const header = `{"msg_id":"1","msg_type":"stream"}`
	tampered := encoded(t, sample())
	tampered[5] = []byte(`{"name":"stdout","text":"ho"}`)
	for name, frames := range map[string][][]byte{
		"nothing":             nil,
		"no delimiter":        {[]byte("a"), []byte("b")},
		"delimiter alone":     {[]byte(delimiter)},
		"content missing":     encoded(t, sample())[:5],
		"endless identities":  append(make([][]byte, 100), encoded(t, sample())...),
		"tampered":            tampered,
		"header no object":    signed(`[]`, `{}`, `{}`, `{}`),
		"header no JSON":      signed(`{`, `{}`, `{}`, `{}`),
		"header of integers":  signed(`{"msg_id":1}`, `{}`, `{}`, `{}`),
		"header without type": signed(`{"msg_id":"1"}`, `{}`, `{}`, `{}`),
		"huge header":         signed(`{"msg_type":"`+strings.Repeat("x", maxHeader)+`"}`, `{}`, `{}`, `{}`),
		"huge parent":         signed(header, `{"msg_id":"`+strings.Repeat("x", maxHeader)+`"}`, `{}`, `{}`),
		"content no object":   signed(header, `{}`, `{}`, `"text"`),
		"content no JSON":     signed(header, `{}`, `{}`, `{"a":}`),
		"content twice":       signed(header, `{}`, `{}`, `{}{}`),
		"content empty":       signed(header, `{}`, `{}`, ``),
		"metadata no object":  signed(header, `{}`, `null`, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := Decode(testKey, IOPub, frames, 0); !errors.Is(err, errForm) {
				t.Fatalf("got %+v and %v", m, err)
			}
		})
	}
}

func TestAHeaderCanHaveRepeatedAndUnknownFields(t *testing.T) {
	m, err := Decode(testKey, Shell, signed(
		`{"msg_id":"first","msg_type":"stream","msg_id":"second","new_field":[1]}`, `{}`, `{}`, `{}`), 0)
	if err != nil || m.Header.MsgID != "second" || m.Parent != (Header{}) {
		t.Fatalf("got %+v and %v", m, err)
	}
}

func TestContentThatIsTooDeepIsCut(t *testing.T) {
	deep := func(n int) string {
		return `{"a":` + strings.Repeat("[", n) + `"}\""` + strings.Repeat("]", n) + `,"b":"]["}`
	}
	cut := `{"a":` + strings.Repeat("[", MaxLevels-1) + `"…"` + strings.Repeat("]", MaxLevels-1) + `,"b":"]["}`
	const header = `{"msg_id":"1","msg_type":"display_data"}`
	for _, n := range []int{MaxLevels, 100_000, 5_000_000} {
		m, err := Decode(testKey, IOPub, signed(header, `{"msg_id":"p"}`, `{}`, deep(n)), 0)
		if err != nil || string(m.Content) != cut || m.Dropped != 0 || m.Parent.MsgID != "p" {
			t.Fatalf("depth %d: got %d bytes, %d dropped, %v", n, len(m.Content), m.Dropped, err)
		}
	}
	m, err := Decode(testKey, IOPub, signed(header, `{}`, `{}`, deep(MaxLevels-1)), 0)
	if err != nil || m.Dropped != 0 || string(m.Content) != deep(MaxLevels-1) {
		t.Fatalf("at the limit of the depth: %d dropped, %v", m.Dropped, err)
	}
	text := `{"text":"` + strings.Repeat(`[{\"`, 1000) + `"}`
	if m, err = Decode(testKey, IOPub, signed(header, `{}`, `{}`, text), 0); err != nil || m.Dropped != 0 {
		t.Fatalf("brackets in a string count as depth: %d dropped, %v", m.Dropped, err)
	}
	if _, err := Decode(testKey, IOPub, signed(deep(100_000), `{}`, `{}`, `{}`), 0); !errors.Is(err, errForm) {
		t.Fatalf("deep header: %v", err)
	}
}

func TestAMessageWithoutItsEndKeepsItsHeaders(t *testing.T) {
	frames := encoded(t, sample())
	for cut := 4; cut <= 7; cut++ { // after the parent header, metadata, content, a buffer
		m, err := Decode(testKey, IOPub, frames[:cut], 1000)
		if err != nil || m.Header.MsgID != "m1" || m.Parent.MsgID != "p1" || m.Dropped != 1000 || !json.Valid(m.Content) {
			t.Fatalf("cut at %d: got %+v and %v", cut, m, err)
		}
	}
	if _, err := Decode(testKey, IOPub, frames[:3], 1000); !errors.Is(err, errForm) {
		t.Fatalf("without a parent header: %v", err)
	}
}

// FuzzMessage decodes frames that are separated by newlines. They are signed, because user code can sign.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"msg_id":"1","msg_type":"stream"}`+"\n{}\n{}\n{\"a\":[1,{}]}\nbuffer"), int64(0))
	f.Add([]byte(`{"msg_id":"1","msg_type":"stream","msg_type":"status"}`+"\n{}\n{}"), int64(7))
	f.Add([]byte(`{"msg_id":"1","msg_type":"stream","date":1}`+"\n null \n{}\n{}"), int64(0))
	f.Add([]byte("topic\n<IDS|MSG>\n\n{}\n{}\n{}\n{}"), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, dropped int64) {
		if dropped < 0 {
			return
		}
		frames := bytes.Split(b, []byte("\n"))
		Decode("", IOPub, frames, dropped)
		frames = append([][]byte{[]byte("topic"), []byte(delimiter), sign(testKey, frames[:min(4, len(frames))])}, frames...)
		m, err := Decode(testKey, IOPub, frames, dropped)
		if err != nil {
			return
		}
		if m.Header.MsgType == "" || m.Dropped < dropped || tooDeep(m.Content) || tooDeep(m.Metadata) {
			t.Fatalf("decoded %+v", m)
		}
		var object map[string]json.RawMessage
		for _, part := range []json.RawMessage{m.RawHeader, m.RawParent, m.Metadata, m.Content} {
			if json.Unmarshal(part, &object) != nil || object == nil {
				t.Fatalf("not an object: %q", part)
			}
		}
		if len(m.RawHeader) > maxHeader || len(m.RawParent) > maxHeader {
			t.Fatalf("headers of %d and %d bytes", len(m.RawHeader), len(m.RawParent))
		}
		again := Encode(testKey, m)
		m.Dropped = 0
		if got, err := Decode(testKey, IOPub, again, 0); err != nil || !cmp.Equal(got, m) {
			t.Fatalf("%+v became %+v (%v)", m, got, err)
		}
	})
}
