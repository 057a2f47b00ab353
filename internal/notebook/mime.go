package notebook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxTypes bounds the MIME types of one display, and the entries of its metadata. Real displays have
	// fewer than ten.
	maxTypes = 64
	// maxType bounds the name of a type.
	maxType = 256
)

// isJSON reports whether values of a type can be any JSON. Values of all other types are text.
func isJSON(mime string) bool {
	return mime == "application/json" || strings.HasPrefix(mime, "application/") && strings.HasSuffix(mime, "+json")
}

// isLines reports whether values of a type are written line by line.
func isLines(mime string) bool {
	return strings.HasPrefix(mime, "text/") || mime == "image/svg+xml" || mime == "application/javascript"
}

// isType reports whether s can be a MIME type: printable ASCII with a slash. For example, some readers would read
// "application/x+json" with a line feed as another type.
func isType(s string) bool {
	return len(s) <= maxType && strings.IndexByte(s, '/') > 0 &&
		strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// cleanBundle returns the data of a display as the format requires, without forbidden values. A hostile
// kernel can send any value under any type, and then a reader would refuse the whole file.
func cleanBundle(data map[string]json.RawMessage) map[string]json.RawMessage {
	clean := make(map[string]json.RawMessage, min(len(data), maxTypes))
	for _, mime := range sorted(data) {
		if len(clean) == maxTypes {
			break
		}
		if !isType(mime) {
			continue
		}
		if value, ok := cleanValue(mime, data[mime]); ok {
			clean[mime] = value
		}
	}
	return clean
}

func cleanValue(mime string, raw json.RawMessage) (json.RawMessage, bool) {
	raw = bytes.TrimSpace(raw)
	if isJSON(mime) {
		return normal(raw)
	}
	if plain(raw) {
		return raw, true // the usual case, also for a large image in base64
	}
	if text, ok := textOf(raw); ok {
		return quoted(text), true
	}
	if bytes.Equal(raw, []byte("null")) || !sound(raw) {
		return nil, false
	}
	return quoted(string(raw)), true // the JSON of a number or an object becomes its text
}

// plain reports whether a value is a valid string in which each character stands for itself.
func plain(raw json.RawMessage) bool {
	return starts(raw, '"') && raw[len(raw)-1] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) && json.Valid(raw)
}

// cleanMetadata returns the metadata of a display without values that readers refuse.
func cleanMetadata(m map[string]json.RawMessage) map[string]json.RawMessage {
	clean := make(map[string]json.RawMessage, min(len(m), maxTypes))
	for _, key := range sorted(m) {
		if len(clean) == maxTypes {
			break
		}
		if value, ok := normal(m[key]); ok && len(key) <= maxType {
			clean[strings.ToValidUTF8(key, "\ufffd")] = value
		}
	}
	return clean
}

// normal returns a valid value without spaces and with all strings repaired.
func normal(raw json.RawMessage) (json.RawMessage, bool) {
	if !sound(raw) {
		return nil, false
	}
	var b bytes.Buffer
	p := &printer{w: bufio.NewWriter(&b)}
	p.json(raw)
	_ = p.w.Flush() // cannot fail: a buffer accepts all bytes
	return b.Bytes(), true
}

// textOf returns a text that is a string or a list of strings.
func textOf(raw json.RawMessage) (string, bool) {
	var text string
	if plain(raw) {
		return string(raw[1 : len(raw)-1]), true
	}
	if starts(raw, '"') {
		return text, json.Unmarshal(raw, &text) == nil
	}
	var lines []*string // pointers, because null is not a string
	if !starts(raw, '[') || json.Unmarshal(raw, &lines) != nil || slices.Contains(lines, nil) {
		return "", false
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(*line)
	}
	return b.String(), true
}

// quoted returns a text as JSON.
func quoted(text string) json.RawMessage {
	var b bytes.Buffer
	p := &printer{w: bufio.NewWriter(&b)}
	p.string(text)
	_ = p.w.Flush() // cannot fail: a buffer accepts all bytes
	return b.Bytes()
}

func sorted(m map[string]json.RawMessage) []string { return slices.Sorted(maps.Keys(m)) }
