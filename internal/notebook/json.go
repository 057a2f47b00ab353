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
	// maxDepth bounds how deep a JSON value may be nested. The reference reader gives up at about
	// 300 levels, and no plot needs 50.
	maxDepth = 100
	// maxDigits bounds a number's text, so that an integer is finite as a float, too. Python refuses
	// to read integers of more than 4,300 digits, and with them the whole file.
	maxDigits = 300
	// maxSorted is the largest JSON value whose keys are sorted, because sorting holds it in
	// memory many times over. Larger ones keep their order, which no reader minds.
	maxSorted = 1 << 20
)

// printer writes JSON as Python's writer does. The first error sticks in w.
type printer struct {
	w      *bufio.Writer
	indent bool
	depth  int
	filled bool // the innermost object or array has something in it
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

// count writes an execution count; there is none below 1.
func (p *printer) count(n int) {
	if n < 1 {
		p.w.WriteString("null")
		return
	}
	p.number(n)
}

// string writes what must be escaped and nothing else escaped; what is not UTF-8 is replaced.
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

// lineEnd returns the length of the first line with its end. Lines end where Python's splitlines
// has them end, because the reference writer uses it.
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

// json writes a sound JSON value, in our layout.
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

// token writes a string that is JSON already, as it is if there is nothing to mend in it.
func (p *printer) token(raw []byte) {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		p.w.Write(raw)
		return
	}
	var s string
	_ = json.Unmarshal(raw, &s) // cannot fail: it is sound; half surrogates are replaced
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
	d.UseNumber() // keep numbers as they are written
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

// sound reports whether raw is JSON that every reader can hold: valid, and not nested too deep.
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

// readable reports whether a number, or a word, means something finite. Python would write what is
// not as Infinity, which is no JSON; such a number is written as a text.
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
