package notebook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth bounds the nesting of a JSON value. The reference reader, nbformat in Python, fails at about 300
	// levels, and no plot needs 50.
	maxDepth = 100
	// maxDigits bounds the text of a number, so that an integer is also finite as a float. Python refuses
	// integers of more than 4,300 digits, and then the whole file.
	maxDigits = 300
	// maxSorted is the largest JSON value whose keys are sorted, because sorting needs several times its
	// memory. Larger values keep their order, which all readers accept.
	maxSorted = 1 << 20
)

// printer writes JSON in the layout of nbformat in Python, the reference writer. w keeps the first error.
type printer struct {
	w      *bufio.Writer
	indent bool
	depth  int
	filled bool // the innermost object or array is not empty
}

func (p *printer) open(c byte) {
	p.w.WriteByte(c)
	p.depth++
	p.filled = false
}

func (p *printer) close(c byte) {
	p.depth--
	if p.filled {
		p.newline()
	}
	p.w.WriteByte(c)
	p.filled = true
}

func (p *printer) newline() {
	if !p.indent {
		return
	}
	p.w.WriteByte('\n')
	for range p.depth {
		p.w.WriteByte(' ')
	}
}

// item starts an element of an array or a key of an object.
func (p *printer) item() {
	if p.filled {
		p.w.WriteByte(',')
	}
	p.newline()
	p.filled = true
}

func (p *printer) key(k string) {
	p.item()
	p.string(k)
	p.colon()
}

func (p *printer) colon() {
	p.w.WriteByte(':')
	if p.indent {
		p.w.WriteByte(' ')
	}
}

func (p *printer) number(n int) { p.w.WriteString(strconv.Itoa(n)) }

// count writes an execution count; a count below 1 becomes null.
func (p *printer) count(n int) {
	if n < 1 {
		p.w.WriteString("null")
		return
	}
	p.number(n)
}

// string escapes only the characters that must be escaped, and replaces bytes that are not UTF-8.
func (p *printer) string(s string) {
	s = strings.ToValidUTF8(s, "\ufffd")
	p.w.WriteByte('"')
	from := 0
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			p.w.WriteString(s[from:i])
			p.escape(c)
			from = i + 1
		}
	}
	p.w.WriteString(s[from:])
	p.w.WriteByte('"')
}

func (p *printer) escape(c byte) {
	if i := strings.IndexByte("\"\\\b\f\n\r\t", c); i >= 0 {
		p.w.WriteByte('\\')
		p.w.WriteByte(`"\bfnrt`[i])
		return
	}
	fmt.Fprintf(p.w, `\u%04x`, c)
}

func (p *printer) strings(list []string) {
	p.open('[')
	for _, s := range list {
		p.item()
		p.string(s)
	}
	p.close(']')
}

// lines writes a text as a list of lines that keep their ends.
func (p *printer) lines(s string) {
	p.open('[')
	for s != "" {
		n := lineEnd(s)
		p.item()
		p.string(s[:n])
		s = s[n:]
	}
	p.close(']')
}

// lineEnd returns the length of the first line with its end. Lines end as in Python's splitlines, which the
// reference writer uses.
func lineEnd(s string) int {
	for i, r := range s {
		switch r {
		case '\r':
			if i+1 < len(s) && s[i+1] == '\n' {
				return i + 2
			}
			return i + 1
		case '\n', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
			return i + utf8.RuneLen(r)
		}
	}
	return len(s)
}

// json writes a valid JSON value in the layout of the printer.
func (p *printer) json(raw json.RawMessage) {
	if p.indent && len(raw) <= maxSorted {
		raw = sortKeys(raw)
	}
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '{', '[':
			p.open(c)
			i = skipSpace(raw, i+1)
			if raw[i] != '}' && raw[i] != ']' {
				p.item()
			}
		case '}', ']':
			p.close(c)
			i++
		case ',':
			p.item()
			i++
		case ':':
			p.colon()
			i++
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			n := tokenEnd(raw, i)
			p.token(raw[i:n])
			i = n
		default: // numbers, true, false, null
			n := tokenEnd(raw, i)
			if readable(raw[i:n]) {
				p.w.Write(raw[i:n])
			} else {
				p.string(string(raw[i:n]))
			}
			i = n
		}
	}
}

// token writes a JSON string. It changes only a string with escapes or invalid UTF-8.
func (p *printer) token(raw []byte) {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		p.w.Write(raw)
		return
	}
	var s string
	_ = json.Unmarshal(raw, &s) // cannot fail: the string is valid; half surrogates are replaced
	p.string(s)
}

func skipSpace(raw []byte, i int) int {
	for raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r' {
		i++
	}
	return i
}

// tokenEnd returns the end of the string, number or word that starts at i.
func tokenEnd(raw []byte, i int) int {
	if raw[i] != '"' {
		if n := bytes.IndexAny(raw[i:], ",:]} \t\r\n"); n >= 0 {
			return i + n
		}
		return len(raw)
	}
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// sortKeys returns the value with the keys of all objects sorted.
func sortKeys(raw json.RawMessage) json.RawMessage {
	if bytes.IndexByte(raw, '{') < 0 {
		return raw
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // keep the text of numbers
	var value any
	if d.Decode(&value) != nil {
		return raw
	}
	out, err := json.Marshal(value)
	if err != nil {
		return raw
	}
	return out
}

// sound reports whether raw is JSON that every reader accepts: valid, and with bounded nesting.
func sound(raw []byte) bool {
	if !json.Valid(raw) {
		return false
	}
	depth := 0
	for i := 0; i < len(raw); {
		switch raw[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return false
			}
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
		default:
			i = tokenEnd(raw, i)
		}
	}
	return true
}

// readable reports whether a number or a word has a finite value. Python would write other numbers as
// Infinity, which is not JSON. So they are written as strings.
func readable(token []byte) bool {
	if len(token) > maxDigits {
		return false
	}
	if c := token[0]; c != '-' && (c < '0' || c > '9') || !bytes.ContainsAny(token, "eE") {
		return true
	}
	_, err := strconv.ParseFloat(string(token), 64)
	return err == nil
}
