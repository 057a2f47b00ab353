package kernels

import (
	"bytes"

	"cellhold"
	"cellhold/internal/guestapi"
)

// maxPlain bounds the commas between the entries of a plain display. So no bundle has more entries than an event can
// have.
const maxPlain = guestapi.MaxTypes - 2

// The fields of a display.
const (
	dataField = 1 << iota
	metadataField
	transientField
	countField
)

var displayFields = map[string]int{
	"data": dataField, "metadata": metadataField, "transient": transientField, "execution_count": countField,
}

// isPlain reports whether the content of a display can be passed on as it is: it has only the fields of its type, each
// once, and few entries with short names. For a large image, a decoder and an encoder would take most of the agent's time. raw must be
// a JSON object in valid UTF-8.
func isPlain(t cellhold.EventType, raw []byte) bool {
	if len(raw) > guestapi.MaxContent || bytes.IndexByte(raw, '\n') >= 0 { // events are lines
		return false
	}
	s := plainScan{raw: raw, result: t == cellhold.EventExecuteResult}
	for ; s.at < len(raw); s.at++ {
		if !s.next(raw[s.at]) {
			return false
		}
	}
	return s.seen&dataField != 0 && s.seen&metadataField != 0
}

// plainScan reads valid JSON from left to right.
type plainScan struct {
	raw    []byte
	result bool // the display is an execute_result, which has a count
	at     int
	level  int
	commas int  // of level 2
	seen   int  // fields
	field  int  // the current one
	named  bool // its name was read
}

// next reads the byte at s.at, and a whole text if it begins there. It returns false if the content is not plain.
func (s *plainScan) next(c byte) bool {
	switch {
	case c == '"':
		text := s.text()
		if s.level == 1 {
			return s.name(text) // the values of level 1 are no texts
		}
		if s.level == 2 && len(text) > guestapi.MaxName {
			return !s.beforeColon()
		}
	case c == '{' || c == '[':
		s.level++
		if s.level == 2 {
			return c == '{' && s.named && s.field != countField && (s.field != transientField || s.empty())
		}
	case c == '}' || c == ']':
		s.level--
	case c == ',' && s.level == 1:
		s.named = false
	case c == ',' && s.level == 2:
		s.commas++
		return s.commas <= maxPlain
	case s.level == 1 && c != ':' && c != ' ':
		return s.field == countField && '0' <= c && c <= '9' && s.digits()
	}
	return true
}

// text returns the text that begins at s.at, and moves to its last quote.
func (s *plainScan) text() []byte {
	begin := s.at + 1
	for end := begin; ; end++ {
		end += bytes.IndexByte(s.raw[end:], '"')
		escapes := 0
		for end-1-escapes >= begin && s.raw[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			s.at = end
			return s.raw[begin:end]
		}
	}
}

// name begins a field.
func (s *plainScan) name(text []byte) bool {
	s.field = displayFields[string(text)]
	fits := !s.named && s.field != 0 && s.seen&s.field == 0 && (s.field != countField || s.result)
	s.named = true
	s.seen |= s.field
	return fits
}

// beforeColon reports whether the text that ends at s.at is the name of an entry.
func (s *plainScan) beforeColon() bool {
	return bytes.HasPrefix(bytes.TrimLeft(s.raw[s.at+1:], " \t\r"), []byte(":"))
}

// empty reports whether the object that begins at s.at has no fields.
func (s *plainScan) empty() bool { return bytes.HasPrefix(s.raw[s.at:], []byte("{}")) }

// digits reports whether a short number without a fraction begins at s.at, and moves to its end.
func (s *plainScan) digits() bool {
	const most = 9
	begin := s.at
	for '0' <= s.raw[s.at+1] && s.raw[s.at+1] <= '9' { // the object ends after the number
		s.at++
	}
	end := s.raw[s.at+1]
	return s.at-begin < most && (end == ',' || end == '}' || end == ' ')
}
