package console

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Screen writes the output of guests to a terminal. Without it, hostile output could write to the clipboard, change
// the window title or hide text behind a link. It could also make the terminal type text into the shell. Colours
// and printable text pass; all other control sequences are dropped. A Screen keeps its state between two calls of
// WriteString, because the first call can end within a sequence.
type Screen struct {
	W     io.Writer
	Mono  bool // drop colours too
	state screenState
	seq   []byte // the sequence so far, while in csi
	inked bool   // a colour passed, and no End came
}

type screenState int

const (
	plain      screenState = iota
	escape                 // after ESC
	csi                    // after ESC [
	payload                // in OSC, DCS, SOS, PM or APC, until its end
	payloadEsc             // in a payload, after ESC
	charset                // after ESC and an intermediate byte: the sequence has at least one more byte
)

// maxSGR bounds a colour sequence. The longest useful one, two true colours with attributes, has about 50 bytes.
const maxSGR = 64

// WriteString writes the harmless part of text.
func (s *Screen) WriteString(text string) (int, error) {
	var out strings.Builder
	for _, r := range text {
		s.take(&out, r)
	}
	if _, err := io.WriteString(s.W, out.String()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// End forgets an unfinished sequence and ends the colours of the text. Otherwise they would hide or colour the next text,
// which can be another one's.
func (s *Screen) End() error {
	s.state = plain
	if !s.inked {
		return nil
	}
	s.inked = false
	_, err := io.WriteString(s.W, "\x1b[0m")
	return err
}

// Block writes the harmless part of text, ends it, and ends its line.
func (s *Screen) Block(text string) error {
	if _, err := s.WriteString(text); err != nil {
		return err
	}
	if err := s.End(); err != nil {
		return err
	}
	_, err := io.WriteString(s.W, "\n")
	return err
}

func (s *Screen) take(out *strings.Builder, r rune) {
	switch s.state {
	case plain:
		s.takePlain(out, r)
	case escape:
		s.takeEscape(r)
	case csi:
		s.takeCSI(out, r)
	case charset:
		if r < ' ' || r > '/' {
			s.state = plain
		}
	case payload:
		switch r {
		case 0x1b:
			s.state = payloadEsc
		case 0x07, 0x18, 0x1a, 0x9c: // BEL, CAN, SUB, ST
			s.state = plain
		}
	case payloadEsc:
		// ESC \ is the end. Any other ESC ends the payload too, and starts a new sequence.
		if s.state = plain; r != '\\' {
			s.takeEscape(r)
		}
	}
}

func (s *Screen) takePlain(out *strings.Builder, r rune) {
	switch {
	case r == 0x1b:
		s.state = escape
	case r == 0x9b: // CSI in one character
		s.state, s.seq = csi, s.seq[:0]
	case r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f: // DCS SOS OSC PM APC
		s.state = payload
	case r == '\n' || r == '\t' || r == '\r' || r == '\b':
		out.WriteRune(r)
	case r < ' ' || r >= 0x7f && r < 0xa0: // all other control characters
	case ChangesDirection(r):
		out.WriteRune(utf8.RuneError)
	default:
		out.WriteRune(r)
	}
}

// ChangesDirection reports whether the character changes the writing direction, which could make a line look different from
// its content.
func ChangesDirection(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func (s *Screen) takeEscape(r rune) {
	switch {
	case r == '[':
		s.state, s.seq = csi, s.seq[:0]
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_': // OSC DCS SOS PM APC
		s.state = payload
	case r == 0x1b:
		s.state = escape
	case r >= ' ' && r <= '/':
		s.state = charset
	default: // a sequence of two characters, such as reset
		s.state = plain
	}
}

// takeCSI collects a control sequence, and writes it if it only sets colours and attributes.
func (s *Screen) takeCSI(out *strings.Builder, r rune) {
	switch {
	case r >= 0x40 && r <= 0x7e:
		if r == 'm' && !s.Mono && len(s.seq) <= maxSGR && strings.Trim(string(s.seq), "0123456789;:") == "" {
			out.WriteString("\x1b[" + string(s.seq) + "m")
			s.inked = true
		}
		s.state = plain
	case r == 0x1b:
		s.state = escape
	case r >= 0x20 && r <= 0x3f:
		if len(s.seq) <= maxSGR {
			s.seq = append(s.seq, byte(r))
		}
	case r == 0x18 || r == 0x1a || r >= 0x7f: // cancelled, or not a control sequence
		s.state = plain
	}
}
