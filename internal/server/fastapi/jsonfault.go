package fastapi

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxDepth limits the recursion. A body of 8 MiB can have eight million brackets, which would need more stack than Go
// allows.
const maxDepth = 500

// jsonFault returns the position of the first error in JSON, and the message that Python's json module has for it. The
// position counts characters, not bytes. FastAPI puts the position and the message into its answer 422.
// For valid JSON the message is empty.
func jsonFault(body []byte) (at int, why string) {
	if json.Valid(body) {
		return 0, ""
	}
	f := &jsonWalk{text: body}
	f.value(0)
	if f.why == "" {
		f.space()
		f.fail(f.at, "Extra data")
	}
	return utf8.RuneCount(body[:f.pos]), f.why
}

// jsonWalk walks over JSON up to the first error, for jsonFault.
type jsonWalk struct {
	text []byte
	at   int    // index of the next byte
	pos  int    // index of the byte with the error
	why  string // message of the error; empty if there is none
}

func (f *jsonWalk) fail(pos int, why string) bool {
	f.pos, f.why = min(pos, len(f.text)), why
	return false
}

func (f *jsonWalk) space() {
	for f.at < len(f.text) && bytes.IndexByte([]byte(" \t\r\n"), f.text[f.at]) >= 0 {
		f.at++
	}
}

// is reports whether the next byte is c.
func (f *jsonWalk) is(c byte) bool { return f.at < len(f.text) && f.text[f.at] == c }

// value skips white space and one value, and reports whether the value is valid.
func (f *jsonWalk) value(depth int) bool {
	f.space()
	switch {
	case depth > maxDepth || f.at >= len(f.text):
		return f.fail(f.at, "Expecting value")
	case f.is('"'):
		return f.str()
	case f.is('{'):
		return f.members('}', depth, f.member)
	case f.is('['):
		return f.members(']', depth, f.value)
	}
	for _, word := range []string{"null", "true", "false"} {
		if bytes.HasPrefix(f.text[f.at:], []byte(word)) {
			f.at += len(word)
			return true
		}
	}
	return f.number()
}

// members skips an array or an object, with its brackets. end is the closing bracket, and one skips one member.
func (f *jsonWalk) members(end byte, depth int, one func(depth int) bool) bool {
	f.at++
	if f.space(); f.is(end) {
		f.at++
		return true
	}
	for {
		if !one(depth + 1) {
			return false
		}
		f.space()
		if f.is(end) {
			f.at++
			return true
		}
		if !f.is(',') {
			return f.fail(f.at, "Expecting ',' delimiter")
		}
		f.at++
	}
}

// member skips a name and its value.
func (f *jsonWalk) member(depth int) bool {
	if f.space(); !f.is('"') {
		return f.fail(f.at, "Expecting property name enclosed in double quotes")
	}
	if !f.str() {
		return false
	}
	if f.space(); !f.is(':') {
		return f.fail(f.at, "Expecting ':' delimiter")
	}
	f.at++
	return f.value(depth)
}

// str skips a string.
func (f *jsonWalk) str() bool {
	begin := f.at
	for f.at++; f.at < len(f.text); f.at++ {
		switch c := f.text[f.at]; {
		case c == '"':
			f.at++
			return true
		case c < ' ':
			return f.fail(f.at, "Invalid control character at")
		case c == '\\':
			if f.at++; f.at >= len(f.text) {
				return f.fail(begin, "Unterminated string starting at")
			}
			if !f.escape() {
				return false
			}
		}
	}
	return f.fail(begin, "Unterminated string starting at")
}

// escape checks the escape sequence after a backslash. After success, f.at is at the last byte of the sequence.
func (f *jsonWalk) escape() bool {
	if !f.is('u') {
		if bytes.IndexByte([]byte(`"\/bfnrt`), f.text[f.at]) < 0 {
			return f.fail(f.at-1, `Invalid \escape`)
		}
		return true
	}
	for i := 1; i <= 4; i++ {
		if f.at+i >= len(f.text) || bytes.IndexByte([]byte("0123456789abcdefABCDEF"), f.text[f.at+i]) < 0 {
			return f.fail(f.at, `Invalid \uXXXX escape`)
		}
	}
	f.at += 4
	return true
}

// number skips the longest valid number. The caller must check the text after the number.
func (f *jsonWalk) number() bool {
	begin := f.at
	if f.is('-') {
		f.at++
	}
	whole := f.at
	if f.is('0') {
		f.at++
	} else {
		f.digits()
	}
	if f.at == whole {
		f.at = begin
		return f.fail(begin, "Expecting value")
	}
	if f.is('.') {
		f.optional(func() { f.at++ })
	}
	if f.is('e') || f.is('E') {
		f.optional(func() {
			f.at++
			if f.is('+') || f.is('-') {
				f.at++
			}
		})
	}
	return true
}

func (f *jsonWalk) digits() {
	for f.at < len(f.text) && f.text[f.at] >= '0' && f.text[f.at] <= '9' {
		f.at++
	}
}

// optional skips the fraction or the exponent of a number. lead skips the characters before the digits. If no digit
// follows, optional skips nothing.
func (f *jsonWalk) optional(lead func()) {
	begin := f.at
	lead()
	digits := f.at
	if f.digits(); f.at == digits {
		f.at = begin
	}
}
