// Package picture draws pictures in terminals that can show them: by the protocol of kitty, by that of iTerm2, or as
// sixel.
//
// The pictures come from untrusted code, and a terminal decodes what it gets. So the package decodes each picture within
// limits, and the terminal gets only a picture that the package encoded itself. It does not read files.
package picture

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // figures can be JPEG
	"image/png"
	"io"
	"strings"
	"time"
)

// Protocol is a way to draw pictures in a terminal.
type Protocol string

// The protocols. None means that the terminal shows no pictures.
const (
	None  Protocol = "none"
	Kitty Protocol = "kitty"
	ITerm Protocol = "iterm"
	Sixel Protocol = "sixel"
)

const (
	// maxPixels is the limit of the pixels of a picture. Half a screen with 4K has 4 million.
	maxPixels = 4 << 20
	// maxScans is the limit of the scans of a JPEG. Usual pictures have at most 10. Each scan of a few bytes costs the time
	// of the whole picture.
	maxScans = 100
	// drawTime is the limit of the time for one picture. A person waits for the prompt.
	drawTime = 5 * time.Second
	// maxEncoded is the limit of the bytes of an encoded picture. Slow connections to a terminal are usual.
	maxEncoded = 8 << 20
	// kittyChunk is the limit of kitty's protocol for the text of one sequence.
	kittyChunk = 4096
)

var (
	// ErrTooLarge says that a picture is not drawn, because it is too large.
	ErrTooLarge = errors.New("the picture is too large for the terminal")
	errScans    = fmt.Errorf("the picture has more than %d scans", maxScans)
	errSlow     = fmt.Errorf("the picture needs more than %v to draw", drawTime)
)

// Screen draws pictures on one terminal.
type Screen struct {
	W        io.Writer
	Protocol Protocol
	Tmux     bool // the terminal is a pane of tmux: sequences must be wrapped, except sixel, which tmux knows
}

// Draw draws a PNG or JPEG picture, and moves the cursor to the next line. If the context ends first, it draws nothing.
func (s Screen) Draw(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drawTime, errSlow)
	defer cancel()
	img, err := decode(ctx, data)
	if err != nil {
		return err
	}
	text, err := s.encode(ctx, img)
	if err != nil {
		return err
	}
	if len(text) > maxEncoded {
		return ErrTooLarge
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err = io.WriteString(s.W, text+"\n")
	return err
}

// scan is the marker at the beginning of a scan of a JPEG. The coded pixels cannot contain it.
var scan = []byte{0xff, 0xda}

// decode decodes a picture within the limits.
func decode(ctx context.Context, data []byte) (image.Image, error) {
	config, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode the picture: %w", err)
	}
	if config.Width <= 0 || config.Height <= 0 || config.Width > maxPixels/config.Height {
		return nil, ErrTooLarge
	}
	if format == "jpeg" && bytes.Count(data, scan) > maxScans {
		return nil, errScans
	}
	img, _, err := image.Decode(reader{ctx, bytes.NewReader(data)})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // the error of a decoder does not have it
	}
	if err != nil {
		return nil, fmt.Errorf("decode the picture: %w", err)
	}
	return img, nil
}

// encode returns the text that draws a picture.
func (s Screen) encode(ctx context.Context, img image.Image) (string, error) {
	if s.Protocol == Sixel {
		return sixel(ctx, img)
	}
	clean := writer{ctx: ctx}
	if err := png.Encode(&clean, img); err != nil {
		return "", fmt.Errorf("encode the picture: %w", err)
	}
	return s.sequences(clean.Bytes()), nil
}

// reader reads until the context ends, which ends a decoder.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(b)
}

// writer keeps up to maxEncoded bytes until the context ends, which ends an encoder.
type writer struct {
	ctx context.Context
	bytes.Buffer
}

func (w *writer) Write(b []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	if w.Len()+len(b) > maxEncoded {
		return 0, ErrTooLarge
	}
	return w.Buffer.Write(b)
}

// sequences returns the sequences that show a PNG picture.
func (s Screen) sequences(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	if s.Protocol == ITerm {
		return s.wrap(fmt.Sprintf("\x1b]1337;File=inline=1;size=%d;preserveAspectRatio=1:%s\a", len(data), text))
	}
	var out strings.Builder
	keys := "a=T,f=100,q=2," // show a PNG, and answer nothing: an answer would be typed text
	for len(text) > 0 {
		n := min(kittyChunk, len(text))
		more := 0
		if n < len(text) {
			more = 1
		}
		out.WriteString(s.wrap(fmt.Sprintf("\x1b_G%sm=%d;%s\x1b\\", keys, more, text[:n])))
		keys, text = "", text[n:]
	}
	return out.String()
}

// wrap returns a sequence that tmux passes on to its terminal, if its option allow-passthrough is on.
func (s Screen) wrap(sequence string) string {
	if !s.Tmux {
		return sequence
	}
	return "\x1bPtmux;" + strings.ReplaceAll(sequence, "\x1b", "\x1b\x1b") + "\x1b\\"
}
