package contents

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/memory"
)

func TestAContentInPiecesIsTheSameJSON(t *testing.T) {
	texts := []string{"", "<b>\u2028\"", strings.Repeat("\x01\\", pieceSize), strings.Repeat(`"`, 2*pieceSize)}
	for i := range 4 { // characters across the end of a piece
		texts = append(texts, strings.Repeat("a", pieceSize-i)+"€𝄞é"+strings.Repeat("b", pieceSize))
	}
	for _, want := range texts {
		for format, c := range map[string]content{formatText: text(want), formatBase64: binary(want), formatJSON: entries{{Name: want}, {Name: "b"}}} {
			var w answered
			m := model{Name: `"content":null}`}
			m.setContent(format, c)
			writeModel(&w, http.StatusOK, m)
			var got struct {
				Name, Format string
				Content      any
			}
			if err := json.Unmarshal([]byte(w.String()), &got); err != nil || got.Name != m.Name || got.Format != format {
				t.Fatalf("%.20q: got %+v, %v", want, got, err)
			}
			ok := false
			switch have := got.Content.(type) {
			case string:
				ok = have == want && format == formatText || have == base64.StdEncoding.EncodeToString([]byte(want))
			case []any:
				ok = len(have) == 2 && have[0].(map[string]any)["name"] == want
			}
			if !ok {
				t.Errorf("%.20q as %s: got %.100q", want, format, got.Content)
			}
		}
	}
	var w answered
	writeModel(&w, http.StatusOK, model{})
	if !strings.HasSuffix(w.String(), `"content":null}`) {
		t.Errorf("without content: got %s", &w)
	}
}

// ignored is an answer without a reader.
type ignored struct{}

func (ignored) Header() http.Header         { return http.Header{} }
func (ignored) WriteHeader(int)             {}
func (ignored) Write(b []byte) (int, error) { return len(b), nil }

// TestTheMemoryOfADocumentIsTaken counts all bytes that a request allocates, also those that it has no longer.
func TestTheMemoryOfADocumentIsTaken(t *testing.T) {
	const size = 1 << 20
	s := New(Options{})
	get := func(format, unit string) func() error {
		file := []byte(strings.Repeat(unit, size/len(unit)))
		if format == formatJSON {
			file = []byte("[" + strings.Repeat(unit, size/len(unit)-2) + "1]")
		}
		return func() error {
			m := model{Type: typeFile}
			err := s.fill(t.Context(), &m, fileA, format, file)
			writeModel(ignored{}, http.StatusOK, m)
			return err
		}
	}
	put := func(format, unit string) func() error {
		body := json.RawMessage(`"` + strings.Repeat(unit, size/len(unit)/4*4) + `"`)
		return func() error {
			_, err := s.bytes(t.Context(), document{Type: typeFile, Format: format, Content: body}, fileA)
			return err
		}
	}
	const other = 2 // the file or the body itself, which is read before
	for name, do := range map[string]func() error{
		"read control characters": get(formatText, "\x01"), "read text": get(formatText, "ab"), "read base64": get(formatBase64, "\xff"), "read JSON": get(formatJSON, "1,"),
		"write control characters": put(formatText, `\u0001`), "write text": put(formatText, "ab"), "write base64": put(formatBase64, "ab"),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := do(); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if took := float64(after.TotalAlloc-before.TotalAlloc)/size + other; took > factor {
				t.Errorf("a document allocated %.1f bytes for each of its bytes, want at most %d", took, factor)
			}
		})
	}
	if _, err := s.bytes(t.Context(), document{Type: typeFile, Format: formatText, Content: json.RawMessage("\"\xff\"")}, fileA); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a text with a wrong byte, which would become three: got %v, want Invalid", err)
	}
}

func TestLargeNotebooksAreConvertedOneAfterTheOther(t *testing.T) {
	s := New(Options{})
	ctx := memory.WithPatience(t.Context(), 0)
	book := []byte(`{"cells":[],"metadata":{},"nbformat":4,"nbformat_minor":5}` + strings.Repeat(" ", maxDocument-100))
	write := func() error {
		_, err := s.bytes(ctx, document{Type: typeNotebook, Content: book}, fileA)
		return err
	}
	read := func() error { return s.fill(ctx, &model{Type: typeNotebook}, fileA, "", book) }
	_, err := s.shares.converted(ctx, len(book), func() ([]byte, error) {
		for name, do := range map[string]func() error{"read": read, "write": write} {
			if err := do(); cellhold.KindOf(err) != cellhold.Unavailable {
				t.Errorf("%s at the same time: got %v, want Unavailable", name, err)
			}
		}
		return nil, io.EOF
	})
	if err != io.EOF {
		t.Errorf("got %v, want the error of the conversion", err)
	}
	for name, do := range map[string]func() error{"read": read, "write": write} {
		if err := do(); err != nil {
			t.Errorf("%s later: got %v", name, err)
		}
	}
}
