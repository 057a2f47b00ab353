package notebook

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"cellhold"
)

// The marks at the beginning of files in other encodings.
var encodings = []struct {
	name string
	mark []byte
}{
	{"UTF-32", []byte{0xff, 0xfe, 0, 0}}, {"UTF-32", []byte{0, 0, 0xfe, 0xff}},
	{"UTF-16", []byte{0xff, 0xfe}}, {"UTF-16", []byte{0xfe, 0xff}},
}

// document returns the JSON of a file from any program. Windows adds a byte order mark. Python writes NaN
// and Infinity. Some programs leave line ends or zero bytes at the end.
func document(raw []byte) ([]byte, error) {
	for _, e := range encodings {
		if bytes.HasPrefix(raw, e.mark) {
			return nil, cellhold.Errorf(cellhold.Invalid, "The notebook is encoded in %s. Save it in UTF-8, as nbformat requires.", e.name)
		}
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	raw = bytes.TrimRight(raw, " \t\r\n\x00")
	size := len(raw)
	raw = quoteNaN(raw)
	if json.Valid(raw) {
		return raw, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	var whole json.RawMessage
	err := d.Decode(&whole)
	var fault *json.SyntaxError
	switch {
	case err == nil:
		return nil, cellhold.Errorf(cellhold.Invalid, "After the end of the notebook, %d more bytes follow. Remove them.", int64(len(raw))-d.InputOffset())
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, cellhold.Errorf(cellhold.Invalid, "The notebook is cut off after %d bytes: its JSON has no end. Upload the whole file.", size)
	case errors.As(err, &fault):
		return nil, cellhold.Errorf(cellhold.Invalid, "The notebook is not JSON: %s.", fault.Error())
	}
	return nil, cellhold.Errorf(cellhold.Invalid, "The notebook is not JSON.")
}

// quoteNaN returns the JSON with NaN and Infinity as strings, because JSON does not have these numbers. It does not
// change text inside strings.
func quoteNaN(raw []byte) []byte {
	if !bytes.Contains(raw, []byte("NaN")) && !bytes.Contains(raw, []byte("Infinity")) {
		return raw
	}
	out := make([]byte, 0, len(raw)+len(raw)/8)
	for i := 0; i < len(raw); {
		if raw[i] == '"' {
			end := stringEnd(raw, i)
			out = append(out, raw[i:end]...)
			i = end
			continue
		}
		word := ""
		for _, w := range []string{"NaN", "Infinity", "-Infinity"} {
			if bytes.HasPrefix(raw[i:], []byte(w)) {
				word = w
			}
		}
		if word != "" {
			out = append(append(append(out, '"'), word...), '"')
			i += len(word)
			continue
		}
		out = append(out, raw[i])
		i++
	}
	return out
}

// stringEnd returns the end of the string that starts at i, or the end of raw if the string has none.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}
