package command

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestALongStreamKeepsItsHeadAndTailAndCountsOmittedBytes(t *testing.T) {
	text := strings.Repeat("line of text €\n", 30_000)
	for _, piece := range []int{1, 7, 4096, 100_000, len(text)} {
		var s ends
		for rest := text; rest != ""; {
			n := min(piece, len(rest))
			s.add([]byte(rest[:n]))
			rest = rest[n:]
		}
		o := s.output()
		if o.Bytes != int64(len(text)) || !strings.HasPrefix(text, o.Text) || !strings.HasSuffix(text, o.Tail) || o.Encoding != "" ||
			int64(len(o.Text)+len(o.Tail))+o.Omitted != o.Bytes || len(o.Text) < headBytes-3 || len(o.Tail) < tailBytes-3 {
			t.Errorf("in pieces of %d: got %d and %d bytes of %d, %d omitted; want about %d and %d bytes of %d, and the rest omitted",
				piece, len(o.Text), len(o.Tail), o.Bytes, o.Omitted, headBytes, tailBytes, len(text))
		}
		if cap(s.tail) > 4*tailBytes+piece {
			t.Errorf("in pieces of %d: the tail has a capacity of %d bytes, want at most %d", piece, cap(s.tail), 4*tailBytes+piece)
		}
	}
}

func TestAShortStreamHasNoOmittedBytes(t *testing.T) {
	for _, n := range []int{0, 1, headBytes, headBytes + 1, headBytes + tailBytes} {
		var s ends
		s.add([]byte(strings.Repeat("x", n)))
		if o := s.output(); len(o.Text) != n || o.Tail != "" || o.Omitted != 0 {
			t.Errorf("%d bytes: got %d in text, %d in tail, %d omitted; want %d, 0, 0", n, len(o.Text), len(o.Tail), o.Omitted, n)
		}
	}
	var s ends
	s.add([]byte{0xff, 0})
	if o := s.output(); o.Encoding != "base64" || o.Text != base64.StdEncoding.EncodeToString([]byte{0xff, 0}) {
		t.Errorf("bytes that are not UTF-8: got %+v, want base64", o)
	}
}
