package console

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func shown(chunks ...string) string {
	var out strings.Builder
	s := Screen{W: &out}
	for _, c := range chunks {
		s.WriteString(c)
	}
	return out.String()
}

func TestOnlyTextAndColoursReachTheTerminal(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"text", "héllo 世界 🐧\tx\n", "héllo 世界 🐧\tx\n"},
		{"progress", "10%\r20%\b", "10%\r20%\b"},
		{"colour", "\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[m", "\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[m"},
		{"title", "a\x1b]0;evil\x07b", "ab"},
		{"clipboard", "a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"},
		{"link", "\x1b]8;;http://evil/\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"device query", "a\x1bP$qm\x1b\\b\x1b[6nc\x1b[cd", "abcd"},
		{"cursor and screen", "a\x1b[2J\x1b[1;1Hb\x1b[?1049hc", "abc"},
		{"sequences that end like a colour", "a\x1b[>4;2mb\x1b[?4mc", "abc"},
		{"reset", "a\x1bcb", "ab"},
		{"charset", "a\x1b(0b\x1b#8c", "abc"},
		{"8-bit controls", "a\u009b2Jb\u009d0;x\u009cc\u0090q\u009cd", "abcd"},
		{"bell and nul", "a\x07\x00\x7f\x0eb", "ab"},
		{"colour after an unfinished title", "\x1b]0;x\x1b[31mred", "\x1b[31mred"},
		{"unfinished", "a\x1b[31", "a"},
		{"endless colour", "a\x1b[" + strings.Repeat("1;", 1000) + "mb", "ab"},
		{"direction", "a\u202eb", "a\ufffdb"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := shown(test.in); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := shown(strings.Split(test.in, "")...); got != test.want {
				t.Errorf("one character at a time: got %q, want %q", got, test.want)
			}
		})
	}
}

func TestAnEndedTextNeitherHidesNorColoursTheNextOne(t *testing.T) {
	var out strings.Builder
	s := Screen{W: &out}
	for _, text := range []string{"plain", "\x1b[31mred", "title\x1b]0;", "csi\x1b[3", "esc\x1b"} {
		if err := s.Block(text); err != nil {
			t.Fatal(err)
		}
	}
	if want := "plain\n\x1b[31mred\x1b[0m\ntitle\ncsi\nesc\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

var (
	colour  = regexp.MustCompile("\x1b\\[[0-9;:]*m")
	control = regexp.MustCompile("[\x00-\x07\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f]")
)

func FuzzScreen(f *testing.F) {
	f.Add("a\x1b]0;x\x07\x1b[31mb", 3)
	f.Add("\x1b\x1b[[mm\u009b", 1)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		got := shown(text)
		if rest := colour.ReplaceAllString(got, ""); control.MatchString(rest) {
			t.Errorf("%q: got %q, want no control character outside colours", text, got)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want valid UTF-8", text, got)
		}
		if cut > 0 && cut < len(text) && utf8.ValidString(text[:cut]) && utf8.ValidString(text[cut:]) {
			if parts := shown(text[:cut], text[cut:]); parts != got {
				t.Errorf("cut at %d: got %q, want %q", cut, parts, got)
			}
		}
	})
}
