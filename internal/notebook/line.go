package notebook

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxLine is how much of a line can still be overwritten. Progress bars are far shorter. It also bounds the
// work for a program that jumps back for each letter.
const maxLine = 8 << 10

// line is the last line of a stream, which a carriage return or a backspace can still change. It shows
// progress like JupyterLab and terminals. Text after a jump replaces the old text letter by letter, and the
// rest of the line stays.
type line struct {
	text   []byte
	cursor int
}

// write adds text, and passes text that can no longer change to emit.
func (l *line) write(text string, emit func(final []byte)) {
	for text != "" {
		i := strings.IndexAny(text, "\n\r\b")
		if i < 0 {
			l.put(text, emit)
			return
		}
		l.put(text[:i], emit)
		switch text[i] {
		case '\n':
			l.text = append(l.text, '\n')
			l.flush(emit)
		case '\r':
			l.cursor = 0
		case '\b':
			_, n := utf8.DecodeLastRune(l.text[:l.cursor])
			l.cursor -= n
		}
		text = text[i+1:]
	}
}

func (l *line) flush(emit func(final []byte)) {
	if len(l.text) > 0 {
		emit(l.text)
	}
	l.text, l.cursor = l.text[:0], 0
}

// put writes text without jumps at the cursor.
func (l *line) put(text string, emit func(final []byte)) {
	for text != "" {
		n := cut(text, maxLine)
		l.overwrite(text[:n])
		text = text[n:]
		if len(l.text) >= maxLine {
			l.flush(emit)
		}
	}
}

// overwrite replaces as many letters as text has, counted in code points.
func (l *line) overwrite(text string) {
	end := l.cursor
	for range text {
		if end == len(l.text) {
			break
		}
		_, n := utf8.DecodeRune(l.text[end:])
		end += n
	}
	l.text = slices.Replace(l.text, l.cursor, end, []byte(text)...)
	l.cursor += len(text)
}

// cut returns the length of the longest start of s that has at most n bytes and whole code points.
func cut(s string, n int) int {
	if len(s) <= n {
		return len(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}
