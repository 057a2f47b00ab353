package guest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

const (
	// maxOddText bounds, in characters, the text that replaces values whose keys are not MIME types.
	maxOddText = 64 << 10
	// maxLines bounds a text that comes as a list of lines. A longer list becomes its JSON.
	maxLines = 200_000
	// maxLevels bounds the nesting of all JSON of the agent. An event is one level around its content. The description of
	// a language is one level deeper in an event than in the kernel's message.
	maxLevels = guestapi.MaxLevels + 2
)

// mimePattern matches type/subtype and parameters without spaces, in printable ASCII.
var mimePattern = lazy.Regexp(`^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(;[A-Za-z0-9!#$&^_.+=-]+)*$`)

// checkBundle makes a MIME bundle valid for a notebook. JSON types hold any JSON. All other types hold one
// string; a value that is not text becomes its JSON. Values under keys that are not MIME types become the
// plain text if there is no other. Values that cannot be made valid are left out.
func checkBundle(c *cellhold.DisplayContent) error {
	if n := max(len(c.Data), len(c.Metadata)); n > guestapi.MaxTypes {
		return tooMany("types or entries of metadata", n, guestapi.MaxTypes)
	}
	data := make(map[string]json.RawMessage, len(c.Data))
	var odd []string
	for _, mime := range slices.Sorted(maps.Keys(c.Data)) {
		if len(mime) > guestapi.MaxName || !mimePattern().MatchString(mime) {
			odd = append(odd, mime)
			continue
		}
		if v := mimeValue(mime, c.Data[mime]); v != nil {
			data[mime] = v
		}
	}
	if _, ok := data[plain]; !ok && len(odd) > 0 {
		if text, err := encode(oddText(c.Data, odd)); err == nil {
			data[plain] = text
		}
	}
	metadata := make(map[string]json.RawMessage, len(c.Metadata))
	for name, v := range c.Metadata {
		if name != "" && len(name) <= guestapi.MaxName && !strings.ContainsFunc(name, isControl) {
			metadata[name] = cleanJSON(v)
		}
	}
	c.Data, c.Metadata = data, metadata
	return nil
}

// leaveOut replaces a bundle of that size by a note. The agent bounds what a kernel sends, but text can grow: a value
// becomes its JSON, and some characters become escapes.
func leaveOut(c *cellhold.DisplayContent, size int) {
	note := fmt.Sprintf(`"[An output of %d bytes was left out; the limit is %d bytes.]"`, size, guestapi.MaxEvent)
	c.Data, c.Metadata = map[string]json.RawMessage{plain: json.RawMessage(note)}, map[string]json.RawMessage{}
}

// plain is the MIME type of plain text.
const plain = "text/plain"

// oddText returns the text of values whose keys are not MIME types. A single value is its own text. Several
// values become one line each, with the key.
func oddText(data map[string]json.RawMessage, keys []string) string {
	if len(keys) == 1 {
		return firstRunes(textOf(data[keys[0]]), maxOddText)
	}
	var b strings.Builder
	for i, key := range keys {
		if b.Len() > maxOddText {
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(key + ": " + textOf(data[key]))
	}
	return firstRunes(b.String(), maxOddText)
}

// mimeValue returns the value in the form that nbformat has for the type, or nil if there is none.
func mimeValue(mime string, v json.RawMessage) json.RawMessage {
	if isJSON(mime) {
		return cleanJSON(v)
	}
	if bytes.Equal(v, []byte("null")) {
		return nil
	}
	if isPlain(v) {
		return v
	}
	raw, err := encode(textOf(v))
	if err != nil {
		return nil
	}
	return raw
}

// isPlain reports whether a value is a string in which each character stands for itself, also for encode. This is the
// usual case.
func isPlain(v json.RawMessage) bool {
	return v[0] == '"' && bytes.IndexByte(v, '\\') < 0 && utf8.Valid(v) &&
		!bytes.Contains(v, []byte("\u2028")) && !bytes.Contains(v, []byte("\u2029"))
}

// textOf returns a value as text: a string, the joined lines of a list, and JSON for all else.
func textOf(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	var lines []string
	if !bytes.Contains(v, []byte("null")) && fits(v, 1, maxLines) && json.Unmarshal(v, &lines) == nil {
		return strings.Join(lines, "")
	}
	var short bytes.Buffer // kernels differ in their spaces
	if clean := cleanJSON(v); json.Compact(&short, clean) != nil {
		return string(clean)
	}
	return short.String()
}

func isJSON(mime string) bool {
	base, _, _ := strings.Cut(strings.ToLower(mime), ";")
	return base == "application/json" || strings.HasPrefix(base, "application/") && strings.HasSuffix(base, "+json")
}

// cleanJSON makes valid JSON safe for strict readers. The result is valid UTF-8 without half a surrogate
// pair, which other languages cannot turn into text. It may modify v.
func cleanJSON(v json.RawMessage) json.RawMessage {
	if !utf8.Valid(v) {
		v = bytes.ToValidUTF8(v, []byte("\uFFFD"))
	}
	quoted := false
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] == '"':
			quoted = !quoted
		case quoted && v[i] == '\\':
			i += escape(v[i:]) - 1
		}
	}
	return v
}

// escape returns the length of the escape at the beginning of b: one unit, or two for a surrogate pair. It
// replaces half a pair.
func escape(b []byte) int {
	const unit = 6 // length of \uXXXX
	switch {
	case !isUnit(b):
		return 2
	case isHigh(b) && len(b) >= 2*unit && isUnit(b[unit:]) && isLow(b[unit:]):
		return 2 * unit
	case isHigh(b) || isLow(b):
		copy(b, `\ufffd`)
	}
	return unit
}

func isUnit(b []byte) bool { return len(b) >= 6 && b[0] == '\\' && b[1] == 'u' }

// isHigh matches the first halves of pairs, D800 to DBFF. isLow matches the second halves, DC00 to DFFF.
func isHigh(b []byte) bool {
	return (b[2] == 'd' || b[2] == 'D') && strings.IndexByte("89abAB", b[3]) >= 0
}
func isLow(b []byte) bool {
	return (b[2] == 'd' || b[2] == 'D') && strings.IndexByte("cdefCDEF", b[3]) >= 0
}

// fits reports whether JSON has at most wide commas in its first depth levels, and at most maxLevels levels. It is
// exact for valid JSON. It must run before the decoder: decoded, a megabyte of empty values takes a hundred
// megabytes of memory.
func fits(b []byte, depth, wide int) bool {
	_, ok := scan(b, depth, wide)
	return ok
}

// scan is fits, and also returns the number of levels. It stops at the first excess.
func scan(b []byte, depth, wide int) (levels int, ok bool) {
	level, commas, quoted := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			if levels = max(levels, level); levels > maxLevels {
				return levels, false
			}
		case c == '}' || c == ']':
			level--
		case c == ',' && level <= depth:
			if commas++; commas > wide {
				return levels, false
			}
		}
	}
	return levels, true
}
