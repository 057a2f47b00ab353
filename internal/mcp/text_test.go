package mcp

import (
	"strings"
	"testing"
)

func TestTextHasNoTerminalCodes(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31mred\x1b[0m":         "red",
		"\x1b]0;title\x07text":       "text",
		"\x1b]8;;http://x\x1b\\link": "link",
		"a\x00b\x07c\x7f":            "abc",
		"10%\r50%\r100%\ndone\r\n":   "100%\ndone\n",
		"\x1b":                       "",
		"\x1b[31":                    "",
		"\x1b]never ends\nnext":      "\nnext",
		"tab\tand ü\n":               "tab\tand ü\n",
		"left\u202etrap\U000e0041":   "lefttrap",
		"\xff":                       "\ufffd",
		"kept\nfirst\rsecond":        "kept\nsecond",
		"\u009b31mred":               "31mred",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestAFileHidesNoText(t *testing.T) {
	for in, want := range map[string]string{
		"a\x1b]secret\nb":      "a\ufffd]secret\nb",
		"a\x1bPx\x1b_y\x1b^z":  "a\ufffdPx\ufffd_y\ufffd^z",
		"first\rsecond\r\nend": "first\nsecond\nend",
		"\x1b[31mred\t\x00":    "\ufffd[31mred\t\ufffd",
		"a\u202eb":             "ab",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestInvisibleCharactersAreRemoved(t *testing.T) {
	for _, r := range []rune{0xad, 0x200b, 0x200e, 0x202e, 0x2028, 0x2029, 0x2060, 0x2063, 0x2066, 0xfeff, 0x115f, 0x1160, 0x3164, 0xffa0, 0xfe00, 0xfe0e, 0xe0001, 0xe0041, 0xe0100, 0xe0fff} {
		in := "a" + string(r) + "b"
		if got := plain(in); got != "ab" {
			t.Errorf("%U in output: got %q, want ab", r, got)
		}
		if got := harmless(in); got != "ab" {
			t.Errorf("%U in a file: got %q, want ab", r, got)
		}
		if got := shown(in); got != "a\ufffdb" {
			t.Errorf("%U in a name: got %q, want a replacement", r, got)
		}
	}
	const family = "👩\u200d💻 ❤\ufe0f ü 漢"
	if got := plain(family); got != family {
		t.Errorf("got %q, want %q", got, family)
	}
}

func TestANameIsOneHarmlessLine(t *testing.T) {
	got := shown("a\nb\x1b[31m\u202e" + strings.Repeat("ü", 500))
	if strings.ContainsAny(got, "\n\x1b\u202e") || len([]rune(got)) != maxName+1 || !strings.HasPrefix(got, "a\ufffdb\ufffd") {
		t.Errorf("got %q, want one line of %d characters without codes", got, maxName+1)
	}
}

func TestALongTextKeepsItsHeadAndTail(t *testing.T) {
	text := "begin" + strings.Repeat("ü", 1000) + "end"
	got := shorten(text, 100, "Read it.")
	if !strings.HasPrefix(got, "beginü") || !strings.HasSuffix(got, "üend") || !strings.Contains(got, "[… 908 characters left out. Read it. …]") {
		t.Errorf("got %q, want head, tail and the number of omitted characters", got)
	}
	if got := shorten(strings.Repeat("ü", 100), 100, ""); len([]rune(got)) != 100 {
		t.Errorf("a text of the maximum length: got %d characters, want 100", len([]rune(got)))
	}
}
