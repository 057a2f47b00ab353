// Package outputs writes cells and events as JSON, one value at a time.
//
// The outputs of a cell can have 32 MiB. Package encoding/json would hold them several times in memory, and would
// escape <, > and &, which takes six bytes for each of them. This package copies no large value. It does not check
// the values of displays, so they must be valid JSON.
package outputs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"cellhold"
)

// Slot is the member "outputs" of a struct that WriteCell writes. The struct embeds a cell, and its last field is:
//
//	Outputs outputs.Slot `json:"outputs"`
type Slot struct{}

// MarshalJSON returns an empty list.
func (Slot) MarshalJSON() ([]byte, error) { return []byte("[]"), nil }

// slotEnd is the end of a struct with a Slot.
const slotEnd = `"outputs":[]}`

var errNoSlot = errors.New("the last member of a cell is not its outputs")

// Cell is a cell whose outputs are written by WriteCell.
type Cell struct {
	cellhold.Cell
	Outputs Slot `json:"outputs"`
}

// WriteCell writes head, a struct with a Slot, and the outputs in the place of the Slot.
func WriteCell(w io.Writer, head any, list []cellhold.Output) error {
	b, err := encode(head)
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(b, []byte(slotEnd)) {
		return errNoSlot
	}
	if _, err := w.Write(b[:len(b)-len("[]}")]); err != nil {
		return err
	}
	if err := WriteList(w, list); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

// WriteList writes outputs as a list.
func WriteList(w io.Writer, list []cellhold.Output) error {
	if _, err := io.WriteString(w, "["); err != nil {
		return err
	}
	for i, o := range list {
		if i > 0 {
			if _, err := io.WriteString(w, ","); err != nil {
				return err
			}
		}
		if err := write(w, o); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]")
	return err
}

// emptyBundle is the part of an encoded display that has its data and metadata. Only fixed text comes before it.
var emptyBundle = []byte(`"data":{},"metadata":{}`)

// write writes one output.
func write(w io.Writer, o cellhold.Output) error {
	if o.Type != cellhold.EventDisplayData && o.Type != cellhold.EventExecuteResult {
		b, err := encode(o)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	data, metadata := o.Data, o.Metadata
	o.Data, o.Metadata = nil, nil
	b, err := encode(o)
	if err != nil {
		return err
	}
	before, after, _ := bytes.Cut(b, emptyBundle)
	if _, err := w.Write(before); err != nil {
		return err
	}
	if err := writeMap(w, `"data":{`, data); err != nil {
		return err
	}
	if err := writeMap(w, `},"metadata":{`, metadata); err != nil {
		return err
	}
	_, err = w.Write(append([]byte("}"), after...))
	return err
}

// writeMap writes text, and then the members of an object without its braces.
func writeMap(w io.Writer, text string, m map[string]json.RawMessage) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		name, err := encode(key)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(append([]byte(text), name...), ':')); err != nil {
			return err
		}
		text = ","
		value := m[key]
		if len(value) == 0 {
			value = json.RawMessage("null")
		}
		if _, err := w.Write(value); err != nil {
			return err
		}
	}
	if text == "," {
		return nil
	}
	_, err := io.WriteString(w, text)
	return err
}

// WriteEvent writes an event on one line.
func WriteEvent(w io.Writer, e cellhold.Event) error {
	const none = `null}` // the content is the last member
	content := e.Content
	if bytes.ContainsAny(content, "\r\n") { // only spaces between values, because JSON escapes line breaks in texts
		var b bytes.Buffer
		if err := json.Compact(&b, content); err != nil {
			return err
		}
		content = b.Bytes()
	}
	if len(content) == 0 {
		content = json.RawMessage("null")
	}
	e.Content = nil
	b, err := encode(e)
	if err != nil {
		return err
	}
	if _, err := w.Write(b[:len(b)-len(none)]); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

// encode returns a value as JSON without escapes of <, > and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// escaped is the length of a character such as \u001b.
const escaped = 6

// sizes has the number of bytes of each ASCII character in a JSON string.
var sizes = func() (table [utf8.RuneSelf]uint8) {
	for c := range table {
		switch {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			table[c] = 2
		case c < ' ':
			table[c] = escaped
		default:
			table[c] = 1
		}
	}
	return table
}()

// TextSize returns the number of bytes that a text takes in a JSON string at most, without the quotes.
func TextSize[T string | []byte](text T) (n int) {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < utf8.RuneSelf {
			n += int(sizes[c])
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		if i += size - 1; r == '\u2028' || r == '\u2029' || r == utf8.RuneError && size == 1 {
			size = escaped
		}
		n += size
	}
	return n
}

// Size returns the number of bytes that outputs take as JSON, approximately.
func Size(list []cellhold.Output) (n int64) {
	const envelope = 256 // the other members of an output
	for _, o := range list {
		n += envelope + int64(TextSize(o.Text))
		for _, m := range []map[string]json.RawMessage{o.Data, o.Metadata} {
			for key, value := range m {
				n += int64(TextSize(key) + len(`"":,`) + len(value))
			}
		}
		for _, line := range o.Traceback {
			n += int64(TextSize(line) + len(`"",`))
		}
		if o.ErrorValue != nil {
			n += int64(TextSize(*o.ErrorValue))
		}
	}
	return n
}
