package notebook

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// keeper keeps the first and the last bytes of the stream text of a cell, over all its streams:
// the beginning tells what went on, the end how it ended.
type keeper struct {
	half    int     // bytes of the beginning, and again of the end
	streams []*kept // in order; the last is the one being written
	line    line    // the last line of the last stream
	head    int     // bytes kept of the beginning
	tail    int     // bytes kept of the end
	full    bool    // the beginning is over
	oldest  int     // first stream that may have an end to cut from
}

// kept is what is kept of one stream output.
type kept struct {
	head, tail []byte
	bytes      int64 // that were written, those that later ones replaced included
	cut        int64 // bytes left out between head and tail
}

// begin starts the next stream output.
func (k *keeper) begin() *kept {
	k.finish()
	k.streams = append(k.streams, &kept{})
	return k.streams[len(k.streams)-1]
}

// finish makes the last line final, because another output follows.
func (k *keeper) finish() {
	if len(k.streams) > 0 {
		k.line.flush(k.keep)
	}
}

// write adds text to the last stream and returns the bytes left out for it.
func (k *keeper) write(text string) (dropped int64) {
	k.streams[len(k.streams)-1].bytes += int64(len(text))
	for text != "" { // in pieces, so that memory stays bounded within one text too
		n := cut(text, max(k.half, maxLine))
		k.line.write(text[:n], k.keep)
		text = text[n:]
		if k.tail > 2*k.half { // not at once: cutting for each line would copy the end each time
			dropped += k.trim()
		}
	}
	return dropped
}

// keep takes a piece that is final.
func (k *keeper) keep(piece []byte) {
	s := k.streams[len(k.streams)-1]
	if k.full = k.full || k.head+len(piece) > k.half; k.full {
		s.tail = append(s.tail, piece...)
		k.tail += len(piece)
	} else {
		s.head = append(s.head, piece...)
		k.head += len(piece)
	}
}

// trim cuts the end down to its bound, oldest text first, and returns the bytes cut.
func (k *keeper) trim() (cut int64) {
	for k.tail > k.half {
		s := k.streams[k.oldest]
		n := cutPoint(s.tail, k.tail-k.half)
		s.tail = bytes.Clone(s.tail[n:]) // a copy, so that the rest is freed
		s.cut += int64(n)
		cut += int64(n)
		k.tail -= n
		if len(s.tail) == 0 && k.oldest < len(k.streams)-1 {
			k.oldest++
		}
	}
	return cut
}

// cutPoint returns how much to cut off the start of text for at least n bytes, or all: up to the
// end of a line if one is near, and never within a code point.
func cutPoint(text []byte, n int) int {
	if n >= len(text) {
		return len(text)
	}
	near := text[n:min(n+1024, len(text))]
	if i := bytes.IndexByte(near, '\n'); i >= 0 {
		return n + i + 1
	}
	for n < len(text) && !utf8.RuneStart(text[n]) {
		n++
	}
	return n
}

// evict forgets a stream output that is not the one being written, and returns its bytes.
func (k *keeper) evict(s *kept) int64 {
	i := slices.Index(k.streams, s)
	k.streams = slices.Delete(k.streams, i, i+1)
	if k.oldest > i {
		k.oldest--
	}
	k.head -= len(s.head)
	k.tail -= len(s.tail)
	return int64(len(s.head) + len(s.tail))
}

// render returns the text of a stream output as it stands.
func (k *keeper) render(s *kept) string {
	var b strings.Builder
	b.Write(s.head)
	if s.cut > 0 {
		if n := len(s.head); n > 0 && s.head[n-1] != '\n' {
			b.WriteByte('\n')
		}
		b.WriteString(leftOut(s.cut))
	}
	b.Write(s.tail)
	if s == k.streams[len(k.streams)-1] {
		b.Write(k.line.text)
	}
	return b.String()
}

// held returns the bytes in memory.
func (k *keeper) held() int64 { return int64(k.head + k.tail + len(k.line.text)) }
