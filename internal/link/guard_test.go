package link

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

func TestTheRestOfAFrameIsDroppedAfterTheCloseOfItsStream(t *testing.T) {
	const ack = 2
	frame := []byte{muxVersion, muxData, 0, ack | muxFlagFIN, 0, 0, 0, 1, 0, 0, 0, 3, 'a', 'b', 'c'}
	arrives := iotest.OneByteReader(bytes.NewReader(frame))
	heard := 0
	g := newGuard(arrives, func(uint32, uint16) bool { heard++; return heard == 1 })
	got, err := io.ReadAll(&g)
	want := []byte{
		muxVersion, muxData, 0, ack, 0, 0, 0, 1, 0, 0, 0, 1, 'a',
		muxVersion, muxData, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
		muxVersion, muxData, 0, muxFlagFIN, 0, 0, 0, 1, 0, 0, 0, 0,
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
