package mcp

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText is the maximum number of characters of a result. Programs move longer results to files or cut them.
	maxText = 16_000
	// maxFailure is the maximum number of characters of a result with an exception. Claude Code cuts longer ones.
	maxFailure = 10_000
	// maxName is the maximum number of characters that are shown of a name from a sandbox.
	maxName = 200
)

// plain returns text without ANSI codes and control characters. A carriage return begins its line again, as on a
// terminal. An attacker could otherwise write codes for the terminal of the person who reads the result.
func plain(text string) string {
	var out []byte
	line := 0 // where the last line begins in out
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '\x1b':
			i += escape(text[i:])
			continue
		case r == '\r':
			if i+1 < len(text) && text[i+1] != '\r' && text[i+1] != '\n' {
				out = out[:line]
			}
		case r == '\n':
			out = append(out, '\n')
			line = len(out)
		case r == '\t' || !unicode.IsControl(r) && !hidden(r):
			out = utf8.AppendRune(out, r)
		}
		i += n
	}
	return string(out)
}

// harmless returns the text of a file without control characters. Unlike plain, it keeps the text that terminals overwrite or
// read as codes: a file could otherwise hide a part of itself.
func harmless(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case hidden(r):
			return -1
		case unicode.IsControl(r) && r != '\n' && r != '\t':
			return utf8.RuneError
		}
		return r
	}, text)
}

// hidden reports whether a character changes the order of text or is invisible. Such characters can hide a part of
// a text from people, or carry a text that only a model reads. A joiner and a variation selector of emojis are not hidden.
func hidden(r rune) bool {
	const joiner = 0x200d
	switch {
	case r < 0x80 || r == joiner:
		return false
	case unicode.Is(unicode.Cf, r), r >= 0xfe00 && r <= 0xfe0e, r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	switch r {
	case 0x034f, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x180b, 0x180c, 0x180d, 0x180f, 0x2028, 0x2029, 0x3164, 0xffa0:
		return true
	}
	return false
}

// escape returns the length of the escape sequence at the beginning of text.
func escape(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[':
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
			if text[i] < 0x20 || text[i] > 0x7e {
				return i
			}
		}
		return len(text)
	case ']', 'P', '_', '^', 'X': // a string up to BEL or ESC \
		for i := 2; i < len(text); i++ {
			switch {
			case text[i] == '\a':
				return i + 1
			case text[i] == '\x1b':
				return min(i+2, len(text))
			case text[i] == '\n':
				return i
			}
		}
		return len(text)
	}
	if text[1] < 0x20 || text[1] >= utf8.RuneSelf {
		return 1
	}
	return 2
}

// shown returns a name from a sandbox as one harmless line.
func shown(name string) string {
	var out strings.Builder
	n := 0
	for _, r := range name {
		if n++; n > maxName {
			out.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) || hidden(r) {
			r = utf8.RuneError
		}
		out.WriteRune(r)
	}
	return out.String()
}

// shorten returns the head and the tail of a text with more than most characters. Between them it has a line with the
// number of omitted characters and with how to read them.
func shorten(text string, most int, how string) string {
	if len(text) <= most {
		return text
	}
	n := utf8.RuneCountInString(text)
	if n <= most {
		return text
	}
	head, tail := at(text, most/2), at(text, n-(most-most/2))
	return fmt.Sprintf("%s\n[… %d characters left out. %s …]\n%s", text[:head], n-most, how, text[tail:])
}

// at returns the index of the n-th character.
func at(text string, n int) int {
	for i := range text {
		if n == 0 {
			return i
		}
		n--
	}
	return len(text)
}
