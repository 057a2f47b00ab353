package command

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestTheEndsOfAStreamAreKeptAndTheMiddleIsCounted(t *testing.T) {
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
			t.Errorf("in pieces of %d: %d and %d bytes of %d, %d omitted", piece, len(o.Text), len(o.Tail), o.Bytes, o.Omitted)
		}
		if cap(s.tail) > 4*tailBytes+piece {
			t.Errorf("in pieces of %d: %d bytes are kept", piece, cap(s.tail))
		}
	}
}

func TestAShortStreamIsWhole(t *testing.T) {
	for _, n := range []int{0, 1, headBytes, headBytes + 1, headBytes + tailBytes} {
		var s ends
		s.add([]byte(strings.Repeat("x", n)))
		if o := s.output(); len(o.Text) != n || o.Tail != "" || o.Omitted != 0 {
			t.Errorf("%d bytes: %d, %d, %d omitted", n, len(o.Text), len(o.Tail), o.Omitted)
		}
	}
	var s ends
	s.add([]byte{0xff, 0})
	if o := s.output(); o.Encoding != "base64" || o.Text != base64.StdEncoding.EncodeToString([]byte{0xff, 0}) {
		t.Errorf("%+v", o)
	}
}
