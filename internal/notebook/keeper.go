package notebook

import (
	"bytes"
	"cellhold/internal/outputs"
	"slices"
	"strings"
	"unicode/utf8"
)

// keeper keeps the first and the last bytes of the stream text of a cell, over all its streams. The
// beginning and the end of the text are the most useful parts.
type keeper struct {
	half    int     // limit of the beginning in bytes, and of the end
	streams []*kept // in order; text is added to the last one
	line    line    // the last line of the last stream
	head    int     // bytes kept of the beginning
	tail    int     // bytes kept of the end
	coded   int64   // bytes of all kept text as JSON
	full    bool    // the beginning is complete
	oldest  int     // first stream whose end can be cut
}

// kept is the kept text of one stream output.
type kept struct {
	head, tail []byte
	bytes      int64 // bytes written, replaced ones included
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
	for text != "" { // in pieces, so that memory also stays bounded within one text
		n := cut(text, max(k.half, maxLine))
		k.line.write(text[:n], k.keep)
		text = text[n:]
		if k.tail > 2*k.half { // not after each line, because each cut copies the end
			dropped += k.trim()
		}
	}
	return dropped
}

// keep adds a piece of final text.
func (k *keeper) keep(piece []byte) {
	s := k.streams[len(k.streams)-1]
	k.coded += int64(outputs.TextSize(piece))
	if k.full = k.full || k.head+len(piece) > k.half; k.full {
		s.tail = append(s.tail, piece...)
		k.tail += len(piece)
	} else {
		s.head = append(s.head, piece...)
		k.head += len(piece)
	}
}

// trim cuts the end to its bound, oldest text first, and returns the number of bytes cut.
func (k *keeper) trim() (cut int64) {
	for k.tail > k.half {
		s := k.streams[k.oldest]
		n := cutPoint(s.tail, k.tail-k.half)
		k.coded -= int64(outputs.TextSize(s.tail[:n]))
		s.tail = bytes.Clone(s.tail[n:]) // a copy, so that the memory of the cut bytes is freed
		s.cut += int64(n)
		cut += int64(n)
		k.tail -= n
		if len(s.tail) == 0 && k.oldest < len(k.streams)-1 {
			k.oldest++
		}
	}
	return cut
}

// cutPoint returns the number of bytes to cut off the start of text: at least n, or all bytes. It cuts
// after the end of a line if one is near, and never within a code point.
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

// evict drops a stream output that is not the last one, and returns its size.
func (k *keeper) evict(s *kept) int64 {
	i := slices.Index(k.streams, s)
	k.streams = slices.Delete(k.streams, i, i+1)
	if k.oldest > i {
		k.oldest--
	}
	k.coded -= int64(outputs.TextSize(s.head) + outputs.TextSize(s.tail))
	k.head -= len(s.head)
	k.tail -= len(s.tail)
	return int64(len(s.head) + len(s.tail))
}

// render returns the current text of a stream output.
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

// held returns the memory in bytes.
func (k *keeper) held() int64 { return int64(k.head + k.tail + len(k.line.text)) }

// reserve returns the number of bytes by which the text can still grow as JSON.
func (k *keeper) reserve() int64 {
	const longest = 6 // bytes of an escaped character
	return max(int64(longest*2*k.half)-k.coded, 0)
}
