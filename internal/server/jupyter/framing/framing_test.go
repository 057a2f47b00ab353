package framing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

var sample = Frame{Channel: "control", Header: json.RawMessage(`{ "msg_id":"m","msg_type":"t","x":[1.0]}`), Parent: json.RawMessage(`{"msg_id":"p"}`),
	Metadata: json.RawMessage(`{}`), Content: json.RawMessage(`{"a":"\u00e9é"}`), Buffers: [][]byte{[]byte("one"), {}, {0, 255}}}

// joined joins the pieces of a message.
func joined(pieces [][]byte) []byte { return bytes.Join(pieces, nil) }

// legacy is EncodeLegacy with the pieces joined.
func legacy(f Frame) ([]byte, bool, error) {
	pieces, isBinary, err := EncodeLegacy(f)
	return joined(pieces), isBinary, err
}

func TestAMessageSurvivesBothForms(t *testing.T) {
	for _, buffers := range [][][]byte{nil, sample.Buffers} {
		f := sample
		f.Buffers = buffers
		if got, err := DecodeV1(joined(EncodeV1(f))); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("subprotocol: got %+v, %v; want %+v", got, err, f)
		}
		p, isBinary, err := legacy(f)
		if err != nil || isBinary != (buffers != nil) {
			t.Fatalf("older form: got binary %t, %v", isBinary, err)
		}
		decode := DecodeText
		if isBinary {
			decode = DecodeBinary
		}
		if got, err := decode(p); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("older form: got %+v, %v; want %+v", got, err, f)
		}
	}
}

// The expected bytes are those of the published clients.
func TestTheFormsAreThoseOfTheClients(t *testing.T) {
	f := Frame{Channel: "shell", Header: json.RawMessage(`{"msg_id":"m","msg_type":"t"}`), Parent: json.RawMessage(`{}`), Metadata: json.RawMessage(`{}`), Content: json.RawMessage(`{}`), Buffers: [][]byte{[]byte("B")}}
	var want []byte
	for _, n := range []uint64{7, 64, 69, 98, 100, 102, 104, 105} {
		want = binary.LittleEndian.AppendUint64(want, n)
	}
	want = append(want, `shell{"msg_id":"m","msg_type":"t"}{}{}{}B`...)
	if got := joined(EncodeV1(f)); !bytes.Equal(got, want) {
		t.Errorf("subprotocol: got %q, want %q", got, want)
	}
	text := `{"header":{"msg_id":"m","msg_type":"t"},"msg_id":"m","msg_type":"t","parent_header":{},"metadata":{},"content":{},"channel":"shell","buffers":[]}`
	want = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 2), 12), uint32(12+len(text)))
	want = append(append(want, text...), 'B')
	if got, isBinary, err := legacy(f); err != nil || !isBinary || !bytes.Equal(got, want) {
		t.Errorf("older form: got %q, %t, %v; want %q", got, isBinary, err, want)
	}
}

func TestMissingPartsOfAMessageHaveDefaults(t *testing.T) {
	f, err := DecodeText([]byte(`{"header":{"msg_id":"a","date":5},"parent_header":null,"buffers":{},"unknown":1}`))
	if err != nil || f.Channel != "shell" || string(f.Header) != `{"msg_id":"a","date":5}` || string(f.Parent) != "{}" || string(f.Content) != "{}" {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestAnEmptyPartIsWrittenAsAnObject(t *testing.T) {
	f := Frame{Channel: "iopub", Header: json.RawMessage(`{"msg_id":"a"}`)}
	if got, err := DecodeV1(joined(EncodeV1(f))); err != nil || string(got.Parent) != "{}" {
		t.Errorf("got %+v, %v", got, err)
	}
	if p, _, err := legacy(f); err != nil || !json.Valid(p) {
		t.Errorf("got %s, %v", p, err)
	}
}

func TestDamagedMessagesAreRefused(t *testing.T) {
	for _, p := range []string{"", "null", "[]", "{", `{"header":[]}`, `{"header":"x"}`, `{"channel":5}`, "{\"content\":{\"a\":\"\xff\"}}", `{"channel":"` + strings.Repeat("x", 100) + `"}`} {
		if f, err := DecodeText([]byte(p)); err == nil {
			t.Errorf("text %.40q: got %+v, want an error", p, f)
		}
	}
	v1 := joined(EncodeV1(sample))
	change := func(at int, n uint64) []byte {
		p := bytes.Clone(v1)
		binary.LittleEndian.PutUint64(p[at:], n)
		return p
	}
	for name, p := range map[string][]byte{
		"empty": nil, "short": v1[:7], "cut": v1[:len(v1)-1], "longer": append(bytes.Clone(v1), 0), "no offsets": change(0, 0), "five": change(0, 5),
		"huge count": change(0, 1<<63), "overflow": change(0, 1<<61-1), "first": change(8, 0), "back": change(16, 1), "past": change(24, 1<<40), "negative": change(64, 1<<63),
	} {
		if f, err := DecodeV1(p); err == nil {
			t.Errorf("subprotocol, %s: got %+v, want an error", name, f)
		}
	}
	older, _, err := legacy(sample)
	if err != nil {
		t.Fatal(err)
	}
	alter := func(at int, n uint32) []byte {
		p := bytes.Clone(older)
		binary.BigEndian.PutUint32(p[at:], n)
		return p
	}
	for name, p := range map[string][]byte{"empty": nil, "short": older[:3], "no parts": alter(0, 0), "huge count": alter(0, 1<<31), "first": alter(4, 1), "back": alter(12, 1), "past": alter(12, 1<<31)} {
		if f, err := DecodeBinary(p); err == nil {
			t.Errorf("older form, %s: got %+v, want an error", name, f)
		}
	}
}

func TestAnOlderFormIsAlwaysTextOfUTF8(t *testing.T) {
	f := sample
	f.Buffers, f.Header, f.Content = nil, json.RawMessage(`{"msg_id":5,"MSG_ID":"other"}`), json.RawMessage("{\"a\":\"\xff\"}")
	p, _, err := legacy(f)
	var m struct {
		ID string `json:"msg_id"`
	}
	if err != nil || json.Unmarshal(p, &m) != nil || m.ID != "" || !strings.Contains(string(p), "\uFFFD") {
		t.Errorf("got %s, %v; want no id and a replacement", p, err)
	}
}

// check decodes a message that was decoded and encoded before. The second result must equal the first one.
func check(t *testing.T, decode func([]byte) (Frame, error), p []byte) {
	f, err := decode(p)
	if err != nil {
		return
	}
	if again, err := DecodeV1(joined(EncodeV1(f))); err != nil || !reflect.DeepEqual(again, f) {
		t.Fatalf("subprotocol: got %+v, %v; want %+v", again, err, f)
	}
	q, isBinary, err := legacy(f)
	if err != nil {
		t.Fatalf("older form of %+v: %v", f, err)
	}
	decode = DecodeText
	if isBinary {
		decode = DecodeBinary
	}
	if again, err := decode(q); err != nil || again.Channel != f.Channel || len(again.Buffers) != len(f.Buffers) {
		t.Fatalf("older form: got %+v, %v; want %+v", again, err, f)
	}
}

func FuzzDecodeV1(f *testing.F) {
	f.Add(joined(EncodeV1(sample)))
	f.Fuzz(func(t *testing.T, p []byte) { check(t, DecodeV1, p) })
}

func FuzzDecodeBinary(f *testing.F) {
	p, _, _ := legacy(sample)
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) { check(t, DecodeBinary, p) })
}

func FuzzDecodeText(f *testing.F) {
	f.Add([]byte(`{"header":{"msg_id":"a"},"channel":"shell"}`))
	f.Fuzz(func(t *testing.T, p []byte) { check(t, DecodeText, p) })
}
