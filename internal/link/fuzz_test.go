package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// FuzzSkipPast checks that skipPast finds the first mark and loses no byte after it. It reads the input at once or byte
// by byte.
func FuzzSkipPast(f *testing.F) {
	mark := bytes.Repeat([]byte("ab"), nonceSize/2)
	f.Add([]byte{}, true)
	f.Add(append(bytes.Repeat([]byte("ab"), 15), mark...), true)
	f.Add(append(mark, "rest"...), false)
	f.Fuzz(func(t *testing.T, input []byte, slowly bool) {
		var r io.Reader = bytes.NewReader(input)
		if slowly {
			r = iotest.OneByteReader(r)
		}
		rest, err := skipPast(r, mark)
		i := bytes.Index(input, mark)
		if (err == nil) != (i >= 0) {
			t.Fatalf("got the error %v with the mark at %d, want one only for -1", err, i)
		}
		if i < 0 {
			return
		}
		after, _ := io.ReadAll(r)
		if got := append(rest, after...); !bytes.Equal(got, input[i+len(mark):]) {
			t.Errorf("got %q after the mark, want %q", got, input[i+len(mark):])
		}
	})
}

// FuzzFrameReader checks that the reader does not panic, and does not return more bytes than were sent.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte{1, 0, 2, 'h', 'i', 1, 0, 0})
	f.Add(append([]byte{2, 0, 32}, make([]byte, 32)...))
	f.Add([]byte{1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, input []byte) {
		fr := &frameReader{r: bufio.NewReader(bytes.NewReader(input)), ended: func() {}}
		data, _ := io.ReadAll(fr)
		if len(data) > len(input) {
			t.Errorf("got %d bytes, want at most the %d sent bytes", len(data), len(input))
		}
		for {
			nonce, err := fr.awaitReset()
			if err != nil {
				return
			}
			if len(nonce) != nonceSize {
				t.Errorf("got a nonce of %d bytes, want %d", len(nonce), nonceSize)
			}
		}
	})
}

// FuzzGuard checks that the size of the reads does not change whether the guard refuses the input. It also checks that
// the guard changes no byte and no flag: it can only cut a data frame into several.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 'h', 'i', 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 3, 'h', 'i'})
	f.Add([]byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, input []byte) {
		open := func(uint32, uint16) bool { return true }
		atOnce, slow := newGuard(bytes.NewReader(input), open), newGuard(iotest.OneByteReader(bytes.NewReader(input)), open)
		whole, errWhole := io.ReadAll(&atOnce)
		single, errSingle := io.ReadAll(&slow)
		if (errWhole == nil) != (errSingle == nil) {
			t.Errorf("got the error %v at once and %v byte by byte, want two errors or two nil", errWhole, errSingle)
		}
		want := steps(input)
		for how, passed := range map[string][]byte{"at once": whole, "byte by byte": single} {
			got := steps(passed)
			if errWhole != nil {
				want = want[:min(len(want), len(got))]
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q %s, want %q", got, how, want)
			}
		}
	})
}

// steps returns what frames do to their streams, step by step. A data frame does the same as its pieces: each byte is a
// step, and so are the flags before and after the bytes.
func steps(frames []byte) []string {
	var all []string
	for len(frames) >= muxHeader {
		h := frames[:muxHeader]
		frames = frames[muxHeader:]
		length, flags := binary.BigEndian.Uint32(h[8:]), binary.BigEndian.Uint16(h[2:])
		if h[1] != muxData || length == 0 {
			all = append(all, string(h))
			continue
		}
		body := frames[:min(uint64(len(frames)), uint64(length))]
		frames = frames[len(body):]
		step := func(flags uint16, what string) { all = append(all, fmt.Sprintf("%q %d %s", h[4:8], flags, what)) }
		if first := flags &^ muxFlagsEnd; first != 0 && len(body) > 0 {
			step(first, "before")
		}
		for _, b := range body {
			step(0, string(b))
		}
		if last := flags & muxFlagsEnd; last != 0 && len(body) == int(length) {
			step(last, "after")
		}
	}
	return all
}
