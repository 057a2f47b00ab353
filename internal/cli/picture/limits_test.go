package picture

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"testing"
)

// encodedPNG returns a white PNG.
func encodedPNG(t *testing.T, width, height int) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// scannedJPEG returns a JPEG whose only scan is repeated.
func scannedJPEG(t *testing.T, scans int) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := jpeg.Encode(&out, image.NewGray(image.Rect(0, 0, 16, 16)), nil); err != nil {
		t.Fatal(err)
	}
	data := out.Bytes()
	head, pixels := bytes.Index(data, scan), data[bytes.Index(data, scan):len(data)-2]
	return append(append(bytes.Clone(data[:head]), bytes.Repeat(pixels, scans)...), 0xff, 0xd9) // the end of the picture
}

func TestAPictureThatCostsTooMuchIsNotDrawn(t *testing.T) {
	for name, test := range map[string]struct {
		protocol Protocol
		data     []byte
		want     error
	}{
		"usual":          {Kitty, encodedPNG(t, 1000, 1000), nil},
		"usual as sixel": {Sixel, encodedPNG(t, 100, 100), nil},
		"ten scans":      {Kitty, scannedJPEG(t, 10), nil},
		"many scans":     {Kitty, scannedJPEG(t, maxScans+1), errScans},
		"many pixels":    {ITerm, encodedPNG(t, 2049, 2048), ErrTooLarge},
		"very tall":      {Sixel, encodedPNG(t, 1, maxSixelHeight+1), ErrTooLarge},
	} {
		var shown bytes.Buffer
		err := Screen{W: &shown, Protocol: test.protocol}.Draw(t.Context(), test.data)
		if !errors.Is(err, test.want) || (err == nil) != (shown.Len() > 0) {
			t.Errorf("%s: got the error %v and %d bytes, want %v", name, err, shown.Len(), test.want)
		}
	}
}

func TestADrawingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	img := image.NewGray(image.Rect(0, 0, 100, 100))
	_, decoding := decode(ctx, encodedPNG(t, 100, 100))
	_, encoding := Screen{Protocol: Kitty}.encode(ctx, img)
	_, asSixel := Screen{Protocol: Sixel}.encode(ctx, img)
	for name, err := range map[string]error{"decode": decoding, "encode": encoding, "sixel": asSixel} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the end of the context", name, err)
		}
	}
}

func TestAnEncoderStopsAtTheLimit(t *testing.T) {
	w := writer{ctx: t.Context()}
	if _, err := w.Write(make([]byte, maxEncoded)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{0}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}
