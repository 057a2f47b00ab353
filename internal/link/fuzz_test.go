package link

import (
	"bufio"
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzSkipPast checks that skipPast returns the bytes after the first mark, in pieces of any size.
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
		fr := &frameReader{r: bufio.NewReader(bytes.NewReader(input))}
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

// FuzzGuard checks that the result does not depend on how the bytes are cut, and that passed bytes are
// unchanged.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 'h', 'i', 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, input []byte) {
		whole, errWhole := io.ReadAll(&guard{r: bytes.NewReader(input)})
		single, errSingle := io.ReadAll(&guard{r: iotest.OneByteReader(bytes.NewReader(input))})
		if (errWhole == nil) != (errSingle == nil) {
			t.Errorf("got the error %v at once and %v byte by byte, want two errors or two nil", errWhole, errSingle)
		}
		if errWhole == nil && !bytes.Equal(whole, input) {
			t.Errorf("got %q at once, want the input %q", whole, input)
		}
		if !bytes.HasPrefix(input, single) {
			t.Errorf("got %q byte by byte, want the start of the input %q", single, input)
		}
	})
}
